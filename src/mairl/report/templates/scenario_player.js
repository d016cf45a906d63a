
// What is shown when, and what people do about it.

const $ = (id) => document.getElementById(id);
const raws = JSON.parse($("scenes").textContent), cache = new Map();
const canvas = $("canvas"), context = canvas.getContext("2d"), slider = $("slider");
const view = { x: 0, y: 0, scale: 4, width: 1, height: 1, density: 1 };
const state = { index: 0, time: 0, playing: false, chosen: null, following: false, shown: {} };
const SWITCHES = ["rollout", "log", "trails", "ids", "lanes", "lights"];
let scene = null, ink = {}, asked = false, before = null;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ground", "road", "lane", "white", "yellow", "edge", "crosswalk", "bump", "driveway", "card", "ink", "soft",
    "simulated", "sdc", ...names.agents, ...names.signals, ...Object.keys(names.flags)]) ink[name] = style.getPropertyValue(`--${name}`).trim();
}

function element(tag, text = "", attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(text);
  return made;
}

// Scenarios.

function choose(index) {
  state.index = index;
  if (!cache.has(index)) cache.set(index, decoded(raws[index]));
  scene = cache.get(index);
  Object.assign(state, { chosen: null, following: false });
  $("scenario").value = index;
  $("title").textContent = scene.id;
  const seconds = ((scene.steps - 1) * scene.dt).toFixed(1);
  $("facts").textContent = `${scene.source}, ${scene.count} agents, ${scene.steps} steps of ${scene.dt.toPrecision(2)} s (${seconds} s)`;
  $("switch-rollout").hidden = !scene.rollout;
  slider.max = scene.steps - 1;
  listEvents();
  listLegend();
  setPlaying(false);
  fit();
  setTime(scene.start);
  document.body.dataset.scenario = index;
}

function listEvents() {
  const spot = (step) => `${100 * step / Math.max(1, scene.steps - 1)}%`;
  $("events").hidden = !scene.events.length;
  $("event-count").textContent = `${scene.events.length}`;
  $("event-rows").replaceChildren(...scene.events.map(([flag, agent, first, last]) => {
    const row = element("tr"), what = element("td"), button = element("button", "", { type: "button" });
    const swatch = element("i");
    swatch.style.background = `var(--${flag})`;
    button.append(swatch, names.flags[flag]);
    what.append(button);
    row.append(what, element("td", scene.agents.ids[agent]), element("td", `${first}`), element("td", `${last}`));
    row.addEventListener("click", () => { setPlaying(false); setTime(first); follow(agent); });
    return row;
  }));
  const ticks = scene.events.map(([flag, , first]) => [first, `var(--${flag})`]);
  $("ticks").replaceChildren(...[[scene.current, "var(--soft)"], ...ticks].map(([step, colour]) => {
    const tick = element("i");
    Object.assign(tick.style, { left: spot(step), background: colour });
    return tick;
  }));
}

function listLegend() {
  const box = (look) => (c) => agentMark(c, 15, 8, 0, 24, 11, { faint: 1, ...look }, ink);
  const line = (colour, width, dash = []) => (c) => {
    c.strokeStyle = ink[colour]; c.lineWidth = width; c.setLineDash(dash);
    c.beginPath(); c.moveTo(1, 8); c.lineTo(29, 8); c.stroke();
  };
  const area = (colour) => (c) => { c.fillStyle = ink[colour]; c.fillRect(3, 2, 24, 12); };
  const rows = [], m = scene.map, log = { faint: scene.rollout ? 0.4 : 1 };
  [1, 2, 3, 0].filter((t) => scene.agents.type.includes(t)).forEach((t) => rows.push([names.types[t], box({ ...log, colour: ink[names.agents[t]] })]));
  if (scene.agents.sdc !== null) rows.push(["recording vehicle", box({ colour: ink.sdc })]);
  if (scene.rollout) rows.push(["simulated (the log is faint)", box({ colour: ink.simulated })]);
  if (scene.guessed.includes(1)) rows.push(["size not known", box({ colour: ink.other, guessed: true })]);
  Object.keys(scene.flags).forEach((f) => rows.push([names.flags[f], box({ colour: ink.other, flag: f })]));
  const seen = new Set(scene.lights.state);
  [["go", 3, [3, 8]], ["caution", 2, [2, 7]], ["stop", 1, [1, 6]], ["flashing", 4, [4, 5]], ["light not known", 0, [0]]].forEach(([label, code, codes]) => {
    if (scene.lights.shown.includes(1) && codes.some((k) => seen.has(k))) rows.push([label, (c) => lightMark(c, 15, 8, 6, code, ink)]);
  });
  if (scene.stops.length) rows.push(["stop sign", (c) => stopMark(c, 15, 8, 7, ink)]);
  if (m.edges.kind.length) rows.push(["road edge", line("edge", 2)]);
  if (m.lanes.kind.length) rows.push(["lane centre", line("lane", 1.5)]);
  const paint = [...scene.paths.paint.keys()];
  if (paint.some((k) => k.includes("YELLOW"))) rows.push(["yellow line", line("yellow", 2)]);
  if (paint.some((k) => !k.includes("YELLOW"))) rows.push(["other line", line("white", 2)]);
  if (paint.some((k) => k.includes("BROKEN"))) rows.push(["broken line", line("white", 2, [6, 5])]);
  if (m.crosswalks.kind.length) rows.push(["crosswalk", area("crosswalk")]);
  if (m.speed_bumps.kind.length) rows.push(["speed bump", area("bump")]);
  if (m.driveways.kind.length) rows.push(["driveway", area("driveway")]);
  $("legend").replaceChildren(...rows.map(([label, draw]) => {
    const item = element("li"), swatch = element("canvas", "", { width: 60, height: 32 }), c = swatch.getContext("2d");
    c.scale(2, 2);
    draw(c);
    item.append(swatch, label);
    return item;
  }));
}

// Time.

function setTime(time) {
  state.time = Math.min(scene.steps - 1, Math.max(0, time));
  const step = Math.floor(state.time);
  slider.value = step;
  const history = step < scene.current ? ", history" : "";
  $("clock").textContent = `step ${step} of ${scene.steps - 1}, ${(step * scene.dt).toFixed(1)} s${history}`;
  document.body.dataset.step = step;
  [...$("event-rows").children].forEach((row, k) => row.classList.toggle("now", scene.events[k][2] <= step && step <= scene.events[k][3]));
  tellAgent();
  redraw();
}

function setPlaying(playing) {
  if (playing && state.time >= scene.steps - 1) setTime(0);
  state.playing = playing;
  before = null;
  if (!playing) setTime(Math.floor(state.time));
  $("play").textContent = playing ? "Pause" : "Play";
  document.body.dataset.playing = playing ? "yes" : "no";
  redraw();
}

function stepBy(count) { setPlaying(false); setTime(Math.floor(state.time) + count); }

function faster(by) {
  const speed = $("speed");
  speed.selectedIndex = Math.min(speed.length - 1, Math.max(0, speed.selectedIndex + by));
}

// Agents.

const front = () => (scene.rollout && state.shown.rollout ? scene.rollout : scene.log);

function follow(agent) {
  state.chosen = agent;
  state.following = agent !== null;
  document.body.dataset.agent = agent === null ? "" : scene.agents.ids[agent];
  tellAgent();
  redraw();
}

function tellAgent() {
  const agent = state.chosen, a = scene.agents;
  $("agent").hidden = agent === null;
  if (agent === null) return;
  const step = Math.floor(state.time), k = agent * scene.steps + step, digits = (n, unit) => `${n.toFixed(1)} ${unit}`;
  const roles = [[agent === a.sdc, "recording"], [a.predict.includes(agent), "to predict"], [a.of_interest.includes(agent), "of interest"]];
  const logged = pose(scene, scene.log, agent, step), simulated = scene.rollout && pose(scene, scene.rollout, agent, step);
  const facts = [["type", names.types[a.type[agent]]], ["role", roles.filter(([is]) => is).map(([, name]) => name).join(", ") || "none"]];
  facts.push(["size", `${scene.size[2 * agent].toFixed(1)} × ${scene.size[2 * agent + 1].toFixed(1)} m${scene.guessed[agent] ? " (guessed)" : ""}`]);
  facts.push(["log", logged ? `${logged.x.toFixed(1)}, ${logged.y.toFixed(1)} m` : "not there"]);
  facts.push(["speed", logged ? `${digits(scene.log.speed[k], "m/s")} (${(3.6 * scene.log.speed[k]).toFixed(0)} km/h)` : "–"]);
  if (scene.rollout) {
    facts.push(["simulated", simulated ? `${simulated.x.toFixed(1)}, ${simulated.y.toFixed(1)} m` : "not there"]);
    facts.push(["apart", logged && simulated ? `${Math.hypot(logged.x - simulated.x, logged.y - simulated.y).toFixed(2)} m` : "–"]);
  }
  const flags = Object.keys(scene.flags).filter((f) => scene.flags[f][k]).map((f) => names.flags[f]);
  if (Object.keys(scene.flags).length) facts.push(["now", flags.join(", ") || "nothing flagged"]);
  $("agent-name").textContent = `Agent ${a.ids[agent]}`;
  $("release").hidden = !state.following;
  $("agent-facts").replaceChildren(...facts.map(([label, value]) => {
    const row = element("tr");
    row.append(element("td", label), element("td", value));
    return row;
  }));
}

// The smallest box under a point, with a few pixels to spare; null: none.
function agentAt(px, py) {
  const layers = [];
  if (scene.rollout && state.shown.rollout) layers.push(scene.rollout);
  if (state.shown.log) layers.push(scene.log);
  let best = null, least = Infinity;
  for (const layer of layers) {
    for (let agent = 0; agent < scene.count; agent++) {
      const here = pose(scene, layer, agent, state.time);
      if (!here) continue;
      const [x, y] = toScreen(view, here.x, here.y), [length, width] = extent(scene, agent, view);
      const cos = Math.cos(here.heading), sin = Math.sin(here.heading), dx = px - x, dy = y - py;
      const inside = Math.abs(dx * cos + dy * sin) < length / 2 + 4 && Math.abs(dy * cos - dx * sin) < width / 2 + 4;
      if (inside && length * width < least) { best = agent; least = length * width; }
    }
    if (best !== null) return best;
  }
  return best;
}

function nextAgent(by) {
  for (let k = 1; k <= scene.count; k++) {
    const from = state.chosen ?? (by > 0 ? -1 : 0), agent = (((from + by * k) % scene.count) + scene.count) % scene.count;
    if (pose(scene, front(), agent, state.time)) { follow(agent); return; }
  }
}

// View.

function fit() {
  let low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  const take = (x, y) => { low = [Math.min(low[0], x), Math.min(low[1], y)]; high = [Math.max(high[0], x), Math.max(high[1], y)]; };
  for (const layer of [scene.log, scene.rollout]) layer?.valid.forEach((valid, k) => { if (valid) take(layer.place[2 * k], layer.place[2 * k + 1]); });
  if (low[0] === Infinity) { const p = scene.map.lanes.points; for (let k = 0; k < p.length; k += 2) take(p[k], p[k + 1]); }
  if (low[0] === Infinity) take(0, 0);
  [view.x, view.y] = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  view.scale = Math.min(view.width / Math.max(60, high[0] - low[0] + 30), view.height / Math.max(40, high[1] - low[1] + 30));
  state.following = false;
  tellAgent();
  redraw();
}

function zoom(factor, px = view.width / 2, py = view.height / 2) {
  const [x, y] = toPlane(view, px, py);
  view.scale = Math.min(200, Math.max(0.05, view.scale * factor));
  if (!state.following) { const [nx, ny] = toPlane(view, px, py); view.x += x - nx; view.y += y - ny; }
  redraw();
}

function resize() {
  const box = canvas.getBoundingClientRect(), first = view.width === 1;
  Object.assign(view, { width: Math.max(1, box.width), height: Math.max(1, box.height), density: window.devicePixelRatio || 1 });
  canvas.width = Math.round(view.width * view.density);
  canvas.height = Math.round(view.height * view.density);
  if (scene && first) fit();
  redraw();
}

function scaleBar() {
  const metres = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((m) => m * view.scale > 60) ?? 2000;
  $("scalebar").style.width = `${metres * view.scale}px`;
  $("scalebar").firstElementChild.textContent = `${metres} m`;
}

function redraw() {
  if (!asked) { asked = true; requestAnimationFrame(frame); }
}

function frame(now) {
  asked = false;
  if (state.playing) {
    if (before !== null) {
      const next = state.time + (now - before) / 1000 * Number($("speed").value) / scene.dt;
      if (next >= scene.steps - 1) { setTime(scene.steps - 1); setPlaying(false); } else setTime(next);
    }
    before = state.playing ? now : null;
    redraw();
  }
  if (state.following) {
    const here = pose(scene, front(), state.chosen, state.time);
    if (here) { view.x = here.x; view.y = here.y; }
  }
  drawScene(context, scene, view, ink, state);
  scaleBar();
}

// Hands.

const held = new Map();
let moved = false;

const spot = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

canvas.addEventListener("pointerdown", (event) => {
  held.set(event.pointerId, spot(event));
  if (held.size === 1) moved = false;
  try { canvas.setPointerCapture(event.pointerId); } catch { /* The pointer has gone already. */ }
});
canvas.addEventListener("pointermove", (event) => {
  const now = spot(event), last = held.get(event.pointerId);
  if (!last) { canvas.classList.toggle("over", agentAt(...now) !== null); return; }
  if (held.size === 2) {
    const other = [...held].find(([id]) => id !== event.pointerId)[1], apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
    moved = true;
    zoom(apart(now) / Math.max(1, apart(last)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  } else if (moved || Math.hypot(now[0] - last[0], now[1] - last[1]) > 3) {
    moved = true;
    if (state.following) { state.following = false; tellAgent(); }
    canvas.classList.add("dragged");
    view.x -= (now[0] - last[0]) / view.scale;
    view.y += (now[1] - last[1]) / view.scale;
    redraw();
  } else return;
  held.set(event.pointerId, now);
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, (event) => {
    const was = held.delete(event.pointerId);
    canvas.classList.remove("dragged");
    if (was && !moved && kind === "pointerup") follow(agentAt(...spot(event)));
  });
}
canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...spot(event)); }, { passive: false });

const KEYS = {
  " ": () => setPlaying(!state.playing), ArrowLeft: (e) => stepBy(e.shiftKey ? -10 : -1), ArrowRight: (e) => stepBy(e.shiftKey ? 10 : 1),
  Home: () => stepBy(-scene.steps), End: () => stepBy(scene.steps), ArrowUp: () => faster(1), ArrowDown: () => faster(-1),
  "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), f: fit, n: () => nextAgent(1), p: () => nextAgent(-1),
  s: () => { if (scene.agents.sdc !== null) follow(scene.agents.sdc); }, Escape: () => follow(null),
  "[": () => { if (state.index > 0) choose(state.index - 1); }, "]": () => { if (state.index + 1 < raws.length) choose(state.index + 1); },
};
document.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, target = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey || !KEYS[key]) return;
  // Buttons and choosers keep the keys that they answer to themselves.
  if (target instanceof HTMLSelectElement || (key === " " && target !== document.body && target !== canvas && target !== slider)) return;
  event.preventDefault();
  KEYS[key](event);
});

slider.addEventListener("input", () => { const step = Number(slider.value); setPlaying(false); setTime(step); });
$("play").addEventListener("click", () => setPlaying(!state.playing));
$("fit").addEventListener("click", fit);
$("closer").addEventListener("click", () => zoom(1.3));
$("farther").addEventListener("click", () => zoom(1 / 1.3));
$("release").addEventListener("click", () => follow(null));
$("scenario").addEventListener("change", (event) => choose(Number(event.target.value)));
for (const name of SWITCHES) {
  state.shown[name] = $(name).checked;
  $(name).addEventListener("change", (event) => { state.shown[name] = event.target.checked; redraw(); });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); listLegend(); redraw(); });
new ResizeObserver(resize).observe(canvas);

$("chooser").hidden = raws.length < 2;
readColours();
resize();
choose(0);
document.body.dataset.ready = "yes";
