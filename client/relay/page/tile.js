// One camera's tile.

import { drawAges, drawFrame } from "./draw.js";

const PILLS = { stalled: "no frames", unanswered: "no results" }; // where another word says it better
export const REASONS = {
  camera: "at the camera", mailbox: "overtaken", expired: "too old", disconnected: "disconnected",
  shutdown: "shutdown", errored: "failed",
};

export class Tile {
  /** `onRetry`: the camera's source shall be tried again. */
  constructor(id, template, onRetry) {
    this.id = id;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.camera = id;
    this.part = (name) => this.element.querySelector(name);
    this.canvas = this.part("canvas");
    this.retry = this.part(".retry");
    this.retry.onclick = () => {
      this.retry.disabled = true; // until the next state
      onRetry();
    };
    this.last = null; // the newest frame: its picture, and what was found
  }

  /** Take over a state of the camera, as the relay tells it once a second. */
  update(state) {
    this.element.dataset.state = state.state;
    this.part(".name .text").textContent = state.streams > 1 ? `${this.id} · ${state.streams} streams` : this.id;
    this.part(".pill").textContent = PILLS[state.state] ?? state.state;
    this.part(".message").textContent = message(state) || (this.last ? "" : "No picture yet");
    this.retry.hidden = state.state !== "backing off";
    this.retry.disabled = false;
    figure(this.part(".fps"), state.fps.toFixed(1), "fps");
    figure(this.part(".age"), state.age_ms === null ? "–" : Math.round(state.age_ms), "ms");
    this.part(".version").textContent = share(state.versions);
    const lost = drops(state);
    this.part(".lost").textContent = lost.length ? lost.map(([why, n]) => `${n} ${why}`).join(" · ") : "no frame dropped";
    this.part(".lost").title = "Frames without an answer in the last minute";
    if (state.ages_ms) drawAges(this.part(".spark"), state.ages_ms, state.max_age_ms);
    this.canvas.setAttribute("aria-label", this.last ? `${this.id}: ${counts(this.last.frame.labels)}` : this.id);
  }

  /** Show a newer frame. The bitmap is this tile's from now on. */
  show(bitmap, frame, colours) {
    this.last?.bitmap.close();
    this.last = { bitmap, frame };
    this.part(".served").textContent = `v${frame.version}`;
    this.redraw(colours);
  }

  /** Draw the newest frame again, for another size. */
  redraw(colours) {
    if (!this.last) return;
    drawFrame(this.canvas, this.last.bitmap, this.last.frame, colours);
    this.element.dataset.frame = this.last.frame.frame;
  }

  remove() {
    this.last?.bitmap.close();
    this.element.remove();
  }
}

function figure(element, value, unit) {
  element.textContent = value;
  element.dataset.unit = unit;
}

function message(state) {
  const since = duration(state.since_s);
  switch (state.state) {
    case "connecting": return "The camera program connects to its source";
    case "backing off": return `Its source does not answer. Next try in ${duration(state.retry_s)}`;
    case "failed": return `${state.problem}\nStart it again where it runs`;
    case "failing": return state.problem;
    case "unanswered": return `Frames arrive, no result for ${since}`;
    case "stalled": return `No frame for ${since}`;
    case "lost": return `Connection lost ${since} ago\nIt comes back when its program and the network do`;
    case "ended": return `Ended ${since} ago`;
    default: return "";
  }
}

function duration(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** [reason, count] of the last minute's frames without an answer, most first. */
export function drops(state) {
  const all = { ...state.dropped };
  if (state.errored) all.errored = state.errored;
  return Object.entries(all).sort((a, b) => b[1] - a[1]).map(([why, n]) => [REASONS[why] ?? why, n.toLocaleString("en")]);
}

/** `v1`, or where several versions served the last minute, the share of each: `v1 80 · v2 20 %`. */
function share(versions) {
  const order = Object.keys(versions).sort((a, b) => a - b);
  const all = order.reduce((sum, version) => sum + versions[version], 0);
  if (order.length < 2) return order.map((version) => `v${version}`).join("");
  return `${order.map((version) => `v${version} ${Math.round((100 * versions[version]) / all)}`).join(" · ")} %`;
}

function counts(labels) {
  const found = new Map();
  for (const label of labels) found.set(label, (found.get(label) ?? 0) + 1);
  return [...found].map(([label, n]) => `${n} ${label}`).join(", ") || "nothing found";
}
