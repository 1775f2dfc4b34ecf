// Curves over the last minutes, and bars: just enough SVG. Lengths are in CSS pixels; text never stretches with the chart.

const SPACE = "http://www.w3.org/2000/svg";
const LEFT = 46, RIGHT = 6, TOP = 10, BOTTOM = 20;
const hovered = new Map();  // chart → point under the pointer, counted from the newest; kept between drawings

function tag(name, attributes, text) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Return the smallest round number that is not below `value`; its half is round enough for a tick. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.9999) * power;
}

function frame(host, title) {
  const width = host.clientWidth, height = host.clientHeight;
  const svg = tag("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  host.replaceChildren(svg);
  return { svg, width, height };
}

function levels(svg, width, y, top, format) {
  for (const share of [0, 0.5, 1]) {
    const place = y(share * top);
    svg.append(tag("line", { x1: LEFT, x2: width - RIGHT, y1: place, y2: place, class: share ? "grid" : "base" }));
    svg.append(tag("text", { x: LEFT - 7, y: place + 4, "text-anchor": "end" }, format(share * top)));
  }
}

/**
 * Draw curves that end now.
 *
 * host: element to draw into, followed by its figcaption. curves: {name, values, key, area}, values per step, oldest first,
 * null where nothing was measured; key is the class of its colour. step: seconds between values. span: seconds shown.
 * format: value → text. most: top of the scale, or none. mark: {value, text}, a limit that is drawn where it is in reach.
 */
export function drawCurves(host, { title, curves, step, span, format, most, mark }) {
  const { svg, width, height } = frame(host, title);
  const peak = Math.max(...curves.flatMap((curve) => curve.values.map((value) => value ?? 0)), 0);
  const near = mark && peak > 0.4 * mark.value;
  const top = most ?? roundUp(Math.max(peak, near ? mark.value * 1.1 : 0));
  const x = (ago) => width - RIGHT - (ago * step / span) * (width - LEFT - RIGHT);
  const y = (value) => height - BOTTOM - (Math.min(value, top) / top) * (height - TOP - BOTTOM);
  levels(svg, width, y, top, format);
  const [gap, size, unit] = span > 60 ? [60, 60, "min"] : [15, 1, "s"];
  for (let back = 0; back <= span; back += gap) {
    const text = back ? `−${back / size} ${unit}` : "now";
    svg.append(tag("text", { x: x(back / step), y: height - 4, "text-anchor": back ? "middle" : "end" }, text));
  }
  for (const curve of curves) svg.append(...strokes(curve, x, y));
  if (near) {
    svg.append(tag("line", { x1: LEFT, x2: width - RIGHT, y1: y(mark.value), y2: y(mark.value), class: "mark" }));
    svg.append(tag("text", { x: LEFT + 4, y: y(mark.value) - 4 }, mark.text));
  }
  const count = Math.max(...curves.map((curve) => curve.values.length));
  const ago = hovered.has(host) ? Math.min(hovered.get(host), count - 1) : undefined;
  if (ago >= 0) svg.append(tag("line", { x1: x(ago), x2: x(ago), y1: TOP, y2: height - BOTTOM, class: "cross" }));
  explain(host.nextElementSibling, curves, ago ?? 0, step, format);
  host.onpointermove = (event) => {
    const place = (width - RIGHT - (event.clientX - host.getBoundingClientRect().left)) / (width - LEFT - RIGHT);
    hovered.set(host, Math.max(0, Math.round(place * span / step)));
  };
  host.onpointerleave = () => hovered.delete(host);
}

/** Return the path of a curve, interrupted where nothing was measured, and the area below it where it has one. */
function strokes(curve, x, y) {
  let path = "", area = "", open = false, first = 0;
  const last = curve.values.length - 1;
  curve.values.forEach((value, number) => {
    const ago = last - number;
    if (value === null) { open = false; return; }
    if (!open) first = ago;
    path += `${open ? "L" : "M"}${x(ago).toFixed(1)} ${y(value).toFixed(1)}`;
    open = true;
    const ends = number === last || curve.values[number + 1] === null;
    if (ends && first === ago) path += "h0.1";  // a lone point still shows, as a dot
    if (ends) area += `${path.slice(path.lastIndexOf("M"))}L${x(ago).toFixed(1)} ${y(0)}L${x(first).toFixed(1)} ${y(0)}Z`;
  });
  const drawn = [tag("path", { d: path, class: `curve ${curve.key}` })];
  return curve.area ? [tag("path", { d: area, class: "area" }), ...drawn] : drawn;
}

/** Write the values of one moment below a chart. */
function explain(caption, curves, ago, step, format) {
  const parts = curves.map((curve) => {
    const value = curve.values.at(-1 - ago) ?? null;
    const part = document.createElement("span");
    part.className = `key ${curve.key}`;
    const figure = document.createElement("b");
    figure.textContent = value === null ? "–" : format(value);
    part.append(`${curve.name} `, figure);
    return part;
  });
  if (ago) parts.push(`${Math.round(ago * step)} s ago`);
  caption.replaceChildren(...parts);
}

/** Draw a bar for each of `bars`, which are [name, count] pairs. */
export function drawBars(host, { title, bars, format, note }) {
  const { svg, width, height } = frame(host, title);
  const top = roundUp(1.12 * Math.max(...bars.map(([, count]) => count), 1));  // room for the figure on the bar
  const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
  levels(svg, width, y, top, format);
  const room = (width - LEFT - RIGHT) / bars.length;
  bars.forEach(([name, count], number) => {
    const left = LEFT + number * room + room * 0.14;
    svg.append(tag("rect", { x: left, width: room * 0.72, y: y(count), height: y(0) - y(count), class: "bar" }));
    svg.append(tag("text", { x: left + room * 0.36, y: height - 4, "text-anchor": "middle" }, name));
    if (count) svg.append(tag("text", { x: left + room * 0.36, y: y(count) - 3, "text-anchor": "middle", class: "strong" }, format(count)));
  });
  host.nextElementSibling.textContent = note;
}
