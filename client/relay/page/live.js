// The live page: one WebSocket in, tiles out. client/relay/live.py describes the messages.

import { decode } from "./picture.js";
import { Tile, drops } from "./tile.js";

const GAP_PX = 10, BELOW_PX = 48, LEAST_TILE_PX = 250, MAX_WATCHED = 64;
const $ = (id) => document.getElementById(id);
const tiles = new Map(); // camera id -> Tile
const visible = new Set();
let socket = null, retryMs = 500, colours = ["#0f8f86"], chosen = null;

// --- the connection ---------------------------------------------------------------------------------------
function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return showBatch(socket, data);
    const { hello, state } = JSON.parse(data);
    if (hello) greet(hello);
    if (state) update(state);
  };
  socket.onclose = () => {
    notice("The relay does not answer. Trying again …");
    document.body.dataset.connected = "no";
    setTimeout(connect, retryMs);
    retryMs = Math.min(5000, 1.6 * retryMs);
  };
}

function greet(hello) {
  colours = hello.palette;
  retryMs = 500;
  document.body.dataset.connected = "yes";
  $("model").textContent = hello.model;
  watch();
}

/** Tell the relay which cameras are in sight. */
function watch() {
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ watch: [...visible].slice(0, MAX_WATCHED) }));
  }
}

function notice(text) {
  const moved = $("notice").hidden !== !text;
  $("notice").textContent = text;
  $("notice").hidden = !text;
  if (moved) layOut();
}

// --- frames -----------------------------------------------------------------------------------------------
async function showBatch(from, buffer) {
  const length = new DataView(buffer).getUint32(0);
  const { frames } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  const decoded = await Promise.allSettled(frames.map((frame) => {
    const bytes = new Uint8Array(buffer, at, frame.bytes);
    at += frame.bytes;
    return decode(bytes, tiles.get(frame.camera)?.canvas);
  }));
  // A hidden page draws nothing, so it says nothing, and the relay sends no more until it is seen again.
  requestAnimationFrame(() => {
    decoded.forEach(({ value: bitmap }, i) => {
      const tile = tiles.get(frames[i].camera);
      if (tile && bitmap) tile.show(bitmap, frames[i], colours);
      else bitmap?.close();
    });
    if (from.readyState === WebSocket.OPEN) from.send('{"drawn":1}');
  });
}

// --- state ------------------------------------------------------------------------------------------------
function update({ problem, total, cameras, model }) {
  notice(problem ? `The model server is not available: ${problem}` : "");
  const up = cameras.filter((camera) => camera.state === "streaming").length;
  const due = cameras.filter((camera) => camera.state !== "ended").length;
  $("cameras").textContent = up === due ? up : `${up}/${due}`;
  $("fps").textContent = total.fps.toFixed(1);
  $("age").textContent = total.age_ms === null ? "–" : `${Math.round(total.age_ms)} ms`;
  const settled = total.delivered + total.errored + Object.values(total.dropped).reduce((a, b) => a + b, 0);
  $("delivered").textContent = settled ? `${percent(total.delivered / settled)} %` : "–";
  $("flight").textContent = `${model.in_flight}/${model.limit}`;
  $("flight").dataset.unit = model.predict_ms ? `${Math.round(model.predict_ms)} ms` : "";
  showShare(total.versions);
  const lost = drops(total);
  $("drops").replaceChildren(...lost.flatMap(([why, n], i) => [i ? " · " : "", bold(n), ` ${why}`]));
  $("empty").hidden = cameras.length > 0;
  place(cameras);
}

function percent(share) {
  return share > 0.999 || share < 0.1 ? +(100 * share).toFixed(1) : Math.round(100 * share);
}

function bold(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}

/** The versions' shares of the last minute, in the order of their numbers. */
function showShare(versions) {
  const all = Object.values(versions).reduce((a, b) => a + b, 0);
  const order = Object.keys(versions).sort((a, b) => a - b);
  const share = $("share");
  while (share.children.length > order.length) share.lastChild.remove();
  order.forEach((version, i) => {
    const part = share.children[i] ?? share.appendChild(document.createElement("span"));
    part.style.flexGrow = versions[version];
    part.style.flexBasis = "0";
    part.style.background = `var(--v${i % 4})`;
    const text = `v${version} ${percent(versions[version] / all)} %`;
    part.textContent = versions[version] / all < 0.3 ? `v${version}` : text;
    part.title = `${text}: ${versions[version]} frames in the last minute`;
  });
}

/** Tiles for these cameras, by name; those that ended come last. */
function place(cameras) {
  const ended = (camera) => Number(camera.state === "ended");
  const order = [...cameras].sort((a, b) => ended(a) - ended(b) || a.id.localeCompare(b.id, "en", { numeric: true }));
  const before = tiles.size;
  const ids = new Set(order.map((camera) => camera.id));
  for (const [id, tile] of tiles) if (!ids.has(id)) drop(id, tile);
  for (const camera of order) {
    if (!tiles.has(camera.id)) add(camera.id);
    tiles.get(camera.id).update(camera);
  }
  const elements = order.map((camera) => tiles.get(camera.id).element);
  const moved = elements.some((element, i) => element !== $("tiles").children[i]);
  if (moved) $("tiles").append(...elements);
  if (moved || tiles.size !== before) layOut();
}

function add(id) {
  const tile = new Tile(id, $("tile"), () => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ retry: id }));
  });
  tiles.set(id, tile);
  tile.part(".picture").onclick = () => choose(chosen === id ? null : id);
  sight.observe(tile.element);
}

function drop(id, tile) {
  if (chosen === id) choose(null);
  sight.unobserve(tile.element);
  visible.delete(id);
  tile.remove();
  tiles.delete(id);
}

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target.dataset.camera);
    else visible.delete(target.dataset.camera);
  }
  watch();
});

// --- layout -----------------------------------------------------------------------------------------------
/** Show one camera alone, or all again. */
function choose(id) {
  chosen = id;
  for (const tile of tiles.values()) tile.element.classList.toggle("chosen", tile.id === id);
  layOut();
}

/** The number of columns that makes the tiles largest while all of them fit; on small screens they scroll. */
function layOut() {
  const main = $("tiles"), count = chosen ? 1 : tiles.size;
  if (!count) return;
  const width = document.documentElement.clientWidth - 2 * GAP_PX;
  const height = innerHeight - main.offsetTop - 2 * GAP_PX;
  let columns = Math.max(1, Math.min(count, Math.floor((width + GAP_PX) / (LEAST_TILE_PX + GAP_PX)))), best = 0;
  for (let tried = 1; tried <= count; tried++) {
    const rows = Math.ceil(count / tried);
    const fromWidth = (width - (tried - 1) * GAP_PX) / tried;
    const fromHeight = ((height - (rows - 1) * GAP_PX) / rows - BELOW_PX) * (16 / 9);
    const size = Math.min(fromWidth, fromHeight);
    if (size > best && size >= LEAST_TILE_PX) [columns, best] = [tried, size];
  }
  main.classList.toggle("one", Boolean(chosen));
  main.style.setProperty("--columns", columns);
  main.style.setProperty("--tile", best ? `${Math.floor(best)}px` : "1fr");
  for (const tile of tiles.values()) tile.redraw(colours);
}

new ResizeObserver(layOut).observe(document.body);
addEventListener("keydown", (event) => event.key === "Escape" && choose(null));
connect();
