// The shadow comparison: what the candidate sees otherwise, and the worst pictures side by side. It asks once in a
// while; client/relay/shadow_http.py describes the answers.

import { drawFrame } from "./draw.js";

const EVERY_MS = 3000, WINDOW_S = 300;
const $ = (id) => document.getElementById(id);
const shown = new Map(); // number -> { element, bitmap, pair }
let colours = [];

async function ask() {
  if (!document.hidden) {
    try {
      const report = await (await fetch(`v1/shadow?window_s=${WINDOW_S}`)).json();
      $("shadow").hidden = !report.enabled;
      if (!report.enabled) return; // this relay compares nothing
      tell(report);
      await show(await (await fetch("v1/shadow/pairs")).json());
    } catch {
      // The relay is away: the page says so already.
    }
  }
  setTimeout(ask, EVERY_MS);
}

function tell(report) {
  const versions = report.candidate_version === null ? "" : `v${report.candidate_version} beside v${report.stable_version}`;
  $("shadow-versions").textContent = versions;
  const numbers = report.frames
    ? [
        ["frames compared in the last 5 min", report.frames],
        ["agreement", report.agreement.toFixed(3)],
        ["mean IoU", report.mean_iou?.toFixed(3) ?? "–"],
        ["score drift", signed(report.score_drift)],
        ["times as long", report.latency_ratio.toFixed(2)],
      ]
    : [["no frame compared yet", report.problem]];
  $("shadow-numbers").replaceChildren(...numbers.map(([name, value]) => {
    const item = document.createElement("span"), bold = document.createElement("b");
    bold.textContent = value;
    item.append(bold, ` ${name}`);
    return item;
  }));
}

function signed(value) {
  return value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}

/** The kept pictures, the worst first; one that stays is not fetched again. */
async function show({ palette, pairs }) {
  colours = palette;
  const numbers = new Set(pairs.map((pair) => pair.number));
  for (const [number, { element, bitmap }] of shown) {
    if (numbers.has(number)) continue;
    element.remove();
    bitmap.close();
    shown.delete(number);
  }
  for (const pair of pairs) {
    if (shown.has(pair.number)) continue;
    const answer = await fetch(`v1/shadow/pairs/${pair.number}`);
    if (answer.status !== 200) continue; // a worse one has taken its place meanwhile
    const bitmap = await createImageBitmap(await answer.blob());
    shown.set(pair.number, { element: made(pair), bitmap, pair });
  }
  $("shadow-pairs").append(...pairs.filter((pair) => shown.has(pair.number)).map((pair) => shown.get(pair.number).element));
  redraw();
}

function made(pair) {
  const element = $("shadow-pair").content.firstElementChild.cloneNode(true);
  element.dataset.number = pair.number;
  element.querySelector(".camera").textContent = pair.camera;
  element.querySelector(".what").textContent = words(pair);
  for (const side of ["stable", "candidate"]) {
    element.querySelector(`.${side} figcaption`).textContent = `v${pair[side].version}`;
    element.querySelector(`.${side} canvas`).setAttribute("aria-label", `${side}: ${pair[side].labels.join(", ")}`);
  }
  return element;
}

function words(pair) {
  const parts = pair.flips.map(([a, b, n]) => `${a} became ${b}${n > 1 ? ` (${n})` : ""}`);
  for (const [word, list] of [["missed", pair.missed], ["made up", pair.extra]]) {
    if (list.length) parts.push(`${word} ${list.map(([label, n]) => `${n} ${label}`).join(", ")}`);
  }
  if (pair.mean_iou !== null) parts.push(`mean IoU ${pair.mean_iou.toFixed(2)}, scores ${signed(pair.score_drift)}`);
  return parts.join(" · ");
}

function redraw() {
  for (const { element, bitmap, pair } of shown.values()) {
    for (const side of ["stable", "candidate"]) {
      drawFrame(element.querySelector(`.${side} canvas`), bitmap, pair[side], colours);
    }
  }
}

new ResizeObserver(redraw).observe($("shadow-pairs"));
ask();
