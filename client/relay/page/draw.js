// Pictures with boxes and labels on a canvas, and the age line.

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif";
const JOINED_S = 5; // seconds without a result that the age line goes on over, for who has fewer than one a second
const NARROW_PX = 480; // of a picture: below this, small boxes have no label; the enlarged tile shows them all

/** Draw a frame as large as the canvas allows, with its boxes. Sizes are CSS pixels; `colours` by class id. */
export function drawFrame(canvas, bitmap, frame, colours) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  resize(canvas, Math.round(width * ratio), Math.round(height * ratio));
  const context = canvas.getContext("2d", { alpha: false });
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#07090c";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const scale = Math.min(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const w = bitmap.width * scale, h = bitmap.height * scale;
  const x = (canvas.width - w) / 2, y = (canvas.height - h) / 2;
  context.imageSmoothingQuality = "medium";
  context.drawImage(bitmap, x, y, w, h);
  context.setTransform(ratio, 0, 0, ratio, x, y);
  drawBoxes(context, w / ratio, h / ratio, frame, colours);
}

function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
}

function drawBoxes(context, width, height, frame, colours) {
  const line = Math.max(1.25, (width + height) / 900);
  const boxes = frame.scores.map((_, i) => {
    const [y0, x0, y1, x1] = frame.boxes.slice(4 * i, 4 * i + 4);
    return [x0 * width, y0 * height, x1 * width, y1 * height];
  });
  for (let i = boxes.length - 1; i >= 0; i--) { // the best score last, on top
    const [x0, y0, x1, y1] = boxes[i];
    for (const [colour, thick] of [["#14141899", line + 2], [colourOf(frame, i, colours), line]]) {
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  }
  const size = Math.max(10, Math.min(16, width / 72));
  context.font = `600 ${size}px ${FONT}`;
  context.textBaseline = "middle";
  const taken = [];
  boxes.forEach((box, i) => {
    if (width < NARROW_PX && Math.max(box[2] - box[0], box[3] - box[1]) < 2.4 * size) return;
    const text = `${frame.labels[i]} ${frame.scores[i].toFixed(2)}`;
    drawLabel(context, text, box, colourOf(frame, i, colours), [width, height, size], taken);
  });
}

function colourOf(frame, i, colours) {
  return colours[frame.class_ids[i] % colours.length];
}

/** A plate above the box or inside it, out of the way of others; in a crowd without a place, none. */
function drawLabel(context, text, [x0, y0, , y1], colour, [width, height, size], taken) {
  const w = context.measureText(text).width + 0.6 * size, h = Math.round(1.35 * size);
  const x = Math.max(0, Math.min(x0 - 1, width - w));
  for (const y of [y0 - h, y0, y1 - h, y1]) {
    if (y < 0 || y + h > height || taken.some((t) => x < t[0] + t[2] && t[0] < x + w && y < t[1] + h && t[1] < y + h)) {
      continue;
    }
    taken.push([x, y, w]);
    context.fillStyle = colour;
    context.fillRect(x, y, w, h);
    context.fillStyle = luma(colour) > 140 ? "#14181f" : "#fff";
    context.fillText(text, x + 0.3 * size, y + h / 2 + 0.5);
    return;
  }
}

function luma(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b;
}

/** Fill the age line: `ages` are [mean, greatest] ms or null for each second, `limit` ms or 0. Height 24, 60 wide. */
export function drawAges(svg, ages, limit) {
  const top = Math.max(10, 1.15 * limit, ...ages.map((age) => (age ? age[1] : 0)));
  const y = (ms) => (24 - (23 * ms) / top).toFixed(2);
  let mean = "", most = "";
  for (const run of runs(ages)) {
    const points = (which) => run.map(([second, age]) => `${second + 0.5} ${y(age[which])}`);
    mean += `M${points(0).join("L")}h.01`; // a single second is a dot
    most += `M${run[0][0] + 0.5} 24L${points(1).join("L")}L${run.at(-1)[0] + 0.5} 24Z`;
  }
  svg.querySelector(".mean").setAttribute("d", mean);
  svg.querySelector(".most").setAttribute("d", most);
  svg.querySelector(".limit").setAttribute("d", limit ? `M0 ${y(limit)}H60` : "");
}

/** Stretches without a long gap, as [second, its age]. */
function runs(ages) {
  const found = [];
  ages.forEach((age, second) => {
    if (age === null) return;
    const run = found.at(-1);
    if (run && second - run.at(-1)[0] <= JOINED_S) run.push([second, age]);
    else found.push([[second, age]]);
  });
  return found;
}
