// Reads /stats every second and shows it. Everything that comes in is written as text, never as markup.

import { drawBars, drawCurves } from "/charts.js";

const EVERY = 1000, PATIENCE = 4;
const REASONS = {
  invalid: "it made no sense", rejected: "it could not be in time", expired: "too late, not executed",
  cancelled: "its client left", engine: "the model failed on it", memory: "out of memory",
  unsayable: "its answer could not be written", worker_lost: "its executor hangs", shutdown: "shutting down",
  retried: "batches tried again by halves",
};
const at = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

function count(value) { return value >= 1e5 ? `${three.format(value / 1e3)} k` : whole.format(value); }
function rate(value) { return value >= 100 ? whole.format(value) : three.format(value); }
function share(value) { return value > 0.999 && value < 1 ? "> 99.9 %" : `${three.format(100 * value)} %`; }
function scaled(value, units) {
  const [size, unit] = units.find(([size]) => value >= size * 0.9995) ?? units.at(-1);
  return `${three.format(value / size)} ${unit}`;
}
function seconds(value) {
  if (value >= 120) return duration(value);
  return value ? scaled(value, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) : "0 s";
}
function duration(value) {
  const minutes = Math.floor(value / 60);
  if (minutes < 1) return `${Math.floor(value)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
function bytes(value) { return value ? scaled(value, [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]]) : "0"; }

function write(id, text, tone) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
  if (tone !== undefined) element.className = element.className.replace(/ ?(good|bad|warn)\b/g, "") + (tone && ` ${tone}`);
}

function fill(id, rows, empty) {
  at(id).replaceChildren(...rows.map(([name, value, tone]) => {
    const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
    head.scope = "row"; head.textContent = name; cell.textContent = value; cell.className = tone ?? "";
    row.append(head, cell);
    return row;
  }));
  if (!rows.length) at(id).insertRow().insertCell().append(empty);
  if (!rows.length) at(id).rows[0].cells[0].className = "muted";
}

function show(s) {
  document.title = `${s.model} · strop serve`;
  write("about", `strop serve ${s.version} · ${s.platform.replace(/^strop_/, "")} · up ${duration(s.at - s.started)}`);
  write("model", s.model);
  write("state", ...state(s));
  write("headline", headline(s));
  const { recent, queue, memory, series } = s;
  write("rate", `${rate(recent.ok)} /s`);
  write("rate-more", `${rate(recent.sent)} /s came`);
  write("p99", recent.p99 === null ? "–" : seconds(recent.p99));
  write("p99-more", recent.p50 === null ? `objective ${seconds(s.objective)}` : `median ${seconds(recent.p50)}, objective ${seconds(s.objective)}`);
  write("waiting", whole.format(queue.length));
  write("waiting-more", queue.seconds ? `${seconds(queue.seconds)} of work, ${bytes(queue.bytes)}` : "nothing to do");
  write("memory", bytes(memory.free));
  write("memory-more", `${share(memory.free / memory.total)} of ${bytes(memory.total)}`);
  charts(s, series);
  tables(s);
}

function state(s) {
  if (s.draining) return ["draining", "warn"];
  if (s.executors.hanging) return [`not ready: ${s.executors.hanging} of ${s.executors.count} executors hang`, "bad"];
  return s.ready ? ["ready", "good"] : ["not ready", "bad"];
}

function headline({ recent, objective }) {
  if (recent.in_time === null) return "No request in the last ten seconds.";
  return `${rate(recent.sent)} requests a second; ${share(recent.in_time)} answered within ${seconds(objective)}.`;
}

function charts(s, { step, ...series }) {
  const common = { step, span: (series.ok?.length ?? 0) * step > 60 ? 300 : 60 };  // a young server fills a minute first
  const curve = (name, values, key, area) => ({ name, values: values ?? [], key, area });
  const lost = [["refused", "k-mid"], ["expired", "k-warn"], ["failed", "k-bad"], ["cancelled", "k-ink"]];
  drawCurves(at("chart-rates"), { ...common, title: "Requests per second", format: rate, curves: [
    curve("answered", series.ok, "k-accent", true),
    ...lost.filter(([name]) => s.requests[name]).map(([name, key]) => curve(name, series[name], key)),
  ] });
  drawCurves(at("chart-latency"), { ...common, title: "Latency", format: seconds,
    mark: { value: s.objective, text: `objective ${seconds(s.objective)}` },
    curves: [curve("median", series.p50, "k-mid"), curve("90th", series.p90, "k-ink"), curve("99th percentile", series.p99, "k-accent")] });
  drawCurves(at("chart-busy"), { ...common, title: "Executors at work", format: share, most: 1,
    curves: [curve("busy", series.utilization, "k-accent", true)] });
  drawCurves(at("chart-queue"), { ...common, title: "Waiting requests", format: rate,
    curves: [curve("waiting", series.queue, "k-accent", true)] });
  drawCurves(at("chart-memory"), { ...common, title: "Memory", format: bytes,
    curves: [curve("left", series.free, "k-accent"), curve("held by this process", series.resident, "k-mid")] });
  drawBars(at("chart-batches"), { title: "Rows of a batch, last minute", format: count,
    bars: s.batches, note: batchNote(s) });
}

function batchNote({ rows, padding }) {
  const limit = rows.limit < rows.most ? `memory allows ${rows.limit} of ${rows.most} rows` : `at most ${rows.most} rows`;
  return padding ? `${limit}; ${share(padding)} padding on average` : limit;
}

function tables(s) {
  const { requests: r, executors: e, process: p } = s;
  const bad = (value) => (value ? "bad" : "");
  fill("ended", [
    ["answered", whole.format(r.ok)], ["refused at once", whole.format(r.refused)],
    ["expired", whole.format(r.expired)], ["failed", whole.format(r.failed), bad(r.failed)],
    ["cancelled by the client", whole.format(r.cancelled)], ["open", whole.format(r.open)],
  ]);
  write("balance", s.unaccounted ? `${s.unaccounted} of ${r.sent} requests are unaccounted for: a mistake in strop.`
    : `All ${whole.format(r.sent)} that came are accounted for.`, s.unaccounted ? "bad" : "good");
  const reasons = Object.entries(s.reasons).sort((a, b) => b[1] - a[1]);
  fill("reasons", reasons.map(([name, number]) => [REASONS[name] ?? name, whole.format(number)]), "Every request was answered.");
  fill("workers", [
    ["side by side", whole.format(e.count)], ["at work now", whole.format(e.busy)],
    ["hanging", whole.format(e.hanging), bad(e.hanging)], ["rows allowed", whole.format(s.rows.limit), bad(s.rows.limit < s.rows.most)],
  ]);
  const cores = s.series.cpu?.at(-1);
  fill("process", [
    ["processor", cores === undefined ? "–" : `${three.format(cores)} cores`], ["threads", whole.format(p.threads)],
    ["open files and sockets", whole.format(p.descriptors)],
    ...Object.entries(s.cold).map(([phase, time]) => [`start: ${phase}`, seconds(time)]),
  ]);
}

let latest, heard = performance.now();

async function look() {
  try {
    const answer = await fetch("/stats", { signal: AbortSignal.timeout(PATIENCE * EVERY) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    latest = await answer.json();
    heard = performance.now();
    document.body.classList.remove("stale");
    show(latest);
  } catch (error) {
    const silence = (performance.now() - heard) / 1000;
    document.body.classList.add("stale");
    write("state", `no contact for ${duration(silence)}: ${error.message}`, "bad");
  }
  setTimeout(look, EVERY);
}

addEventListener("resize", () => latest && charts(latest, latest.series));
addEventListener("pointermove", () => latest && charts(latest, latest.series));
look();
