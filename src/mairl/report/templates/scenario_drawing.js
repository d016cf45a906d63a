"use strict";
// Scenes as arrays, and how they are drawn. Places are metres, y upwards; `view` says what part of the plane is seen.

const names = JSON.parse(document.getElementById("names").textContent);
const ARRAYS = { int8: Int8Array, int16: Int16Array, int32: Int32Array };
const TRAIL = 3, FONT = "11px system-ui, sans-serif";

function unpacked(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
  if (packed.type !== "bits") return new ARRAYS[packed.type](bytes.buffer);
  const count = packed.shape.reduce((a, b) => a * b, 1);
  return Uint8Array.from({ length: count }, (_, k) => (bytes[k >> 3] >> (k & 7)) & 1);
}

const scaled = (packed, unit = 0.01) => Float64Array.from(unpacked(packed), (n) => n * unit);

function decoded(raw) {
  const motion = (m) => m && {
    place: scaled(m.position), heading: scaled(m.heading, names.heading), valid: unpacked(m.valid),
    speed: m.speed ? scaled(m.speed) : null,
  };
  const lines = (group) => ({
    points: scaled(group.points), starts: unpacked(group.starts), kind: group.kind,
    width: group.width ? scaled(group.width) : null,
  });
  const scene = {
    ...raw, count: raw.agents.ids.length, size: scaled(raw.agents.size), guessed: unpacked(raw.agents.guessed),
    log: motion(raw.log), rollout: motion(raw.rollout), map: {}, stops: scaled(raw.map.stop_signs),
    flags: Object.fromEntries(Object.entries(raw.flags).map(([name, f]) => [name, unpacked(f)])),
    lights: { place: scaled(raw.signals.place), shown: unpacked(raw.signals.shown), lane: raw.signals.lane, state: unpacked(raw.signals.state) },
  };
  for (const name of ["lanes", "edges", "lines", "crosswalks", "speed_bumps", "driveways"]) scene.map[name] = lines(raw.map[name]);
  scene.paths = paths(scene);
  return scene;
}

// The map does not change: each kind of line becomes one path, drawn with one call whatever the view.
function paths(scene) {
  const { lanes, edges, lines, crosswalks, speed_bumps, driveways } = scene.map;
  const surface = new Map(), paint = new Map();
  lanes.kind.forEach((_, k) => { if (lanes.width[k] > 0) trace(at(surface, lanes.width[k]), lanes, k); });
  lines.kind.forEach((code, k) => { if (names.lines[code] !== "NONE") trace(at(paint, names.lines[code]), lines, k); });
  return {
    surface, paint, centres: all(lanes), edges: all(edges), crosswalks: all(crosswalks, true),
    bumps: all(speed_bumps, true), driveways: all(driveways, true), lane: lanes.kind.map((_, k) => trace(new Path2D(), lanes, k)),
  };
}

function at(map, key) {
  if (!map.has(key)) map.set(key, new Path2D());
  return map.get(key);
}

function trace(path, group, k, closed = false) {
  for (let n = group.starts[k]; n < group.starts[k + 1]; n++) {
    if (n === group.starts[k]) path.moveTo(group.points[2 * n], group.points[2 * n + 1]);
    else path.lineTo(group.points[2 * n], group.points[2 * n + 1]);
  }
  if (closed) path.closePath();
  return path;
}

function all(group, closed = false) {
  const path = new Path2D();
  group.kind.forEach((_, k) => trace(path, group, k, closed));
  return path;
}

// Where an agent is at a time in steps; between two steps only if it is there at both. null: it is not there.
function pose(scene, layer, agent, time) {
  const first = Math.floor(time), part = time - first, k = agent * scene.steps + first;
  if (!layer.valid[k]) return null;
  const here = { x: layer.place[2 * k], y: layer.place[2 * k + 1], heading: layer.heading[k] };
  if (!(part > 0) || first + 1 >= scene.steps || !layer.valid[k + 1]) return here;
  const turn = layer.heading[k + 1] - here.heading;
  return {
    x: here.x + part * (layer.place[2 * k + 2] - here.x), y: here.y + part * (layer.place[2 * k + 3] - here.y),
    heading: here.heading + part * Math.atan2(Math.sin(turn), Math.cos(turn)),
  };
}

// Pixels of an agent's box; what is too small to be seen from so far is drawn larger.
function extent(scene, agent, view) {
  const length = scene.size[2 * agent] * view.scale, width = scene.size[2 * agent + 1] * view.scale;
  const grown = Math.max(1, 5 / Math.max(length, width));
  return [length * grown, width * grown];
}

const toScreen = (view, x, y) => [view.width / 2 + (x - view.x) * view.scale, view.height / 2 - (y - view.y) * view.scale];
const toPlane = (view, px, py) => [view.x + (px - view.width / 2) / view.scale, view.y - (py - view.height / 2) / view.scale];

function colourOf(scene, agent, simulated) {
  if (agent === scene.agents.sdc) return "sdc";
  return simulated ? "simulated" : names.agents[scene.agents.type[agent]];
}

// The flag that is shown of an agent at a step, or undefined.
const flagOf = (scene, agent, step) => Object.keys(names.flags).find((f) => scene.flags[f]?.[agent * scene.steps + step]);

function drawScene(c, scene, view, ink, state) {
  const d = view.density;
  c.setTransform(d, 0, 0, d, 0, 0);
  c.fillStyle = ink.ground;
  c.fillRect(0, 0, view.width, view.height);
  c.setTransform(d * view.scale, 0, 0, -d * view.scale, d * (view.width / 2 - view.x * view.scale), d * (view.height / 2 + view.y * view.scale));
  c.lineJoin = "round";
  drawMap(c, scene, view, ink, state);
  c.setTransform(d, 0, 0, d, 0, 0);
  drawStops(c, scene, view, ink);
  if (state.shown.lights) drawLights(c, scene, view, ink, state);
  const both = scene.rollout && state.shown.rollout;
  if (state.shown.log) drawLayer(c, scene, scene.log, view, ink, state, { simulated: false, ghost: Boolean(both) });
  if (both) drawLayer(c, scene, scene.rollout, view, ink, state, { simulated: true, ghost: false });
  if (state.shown.ids) drawIds(c, scene, view, ink, state, both ? scene.rollout : scene.log, both || state.shown.log);
}

function drawMap(c, scene, view, ink, state) {
  const p = scene.paths;
  const wide = (metres, pixels) => Math.max(metres, pixels / view.scale);
  const stroke = (path, colour, metres, pixels, dash = []) => {
    c.strokeStyle = ink[colour]; c.lineWidth = wide(metres, pixels); c.setLineDash(dash); c.stroke(path);
  };
  const fill = (path, colour, alpha) => { c.globalAlpha = alpha; c.fillStyle = ink[colour]; c.fill(path); c.globalAlpha = 1; };
  fill(p.driveways, "driveway", 0.9);
  c.lineCap = "round";
  for (const [width, path] of p.surface) stroke(path, "road", width, 0);
  c.lineCap = "butt";
  fill(p.crosswalks, "crosswalk", 0.75);
  fill(p.bumps, "bump", 0.75);
  if (state.shown.lanes) stroke(p.centres, "lane", 0.12, 0.6);
  if (state.shown.lights) {
    const step = Math.floor(state.time);
    c.globalAlpha = 0.35;
    scene.lights.lane.forEach((lane, k) => {
      const name = names.signals[scene.lights.state[k * scene.steps + step]];
      if (lane !== null && name !== "unlit") stroke(p.lane[lane], name, 0.6, 1.5);
    });
    c.globalAlpha = 1;
  }
  for (const [kind, path] of p.paint) {
    const dash = kind.includes("BROKEN") ? [3, 6] : [], colour = kind.includes("YELLOW") ? "yellow" : "white";
    const twice = kind.includes("DOUBLE") && view.scale > 5;
    stroke(path, colour, twice ? 0.42 : 0.15, kind.includes("DOUBLE") ? 1.1 : 0.8, dash);
    if (twice) stroke(path, "road", 0.14, 0, dash);
  }
  stroke(p.edges, "edge", 0.25, 1);
  c.setLineDash([]);
}

function drawStops(c, scene, view, ink) {
  const radius = Math.min(8, Math.max(3, 0.7 * view.scale));
  for (let k = 0; 2 * k < scene.stops.length; k++) stopMark(c, ...toScreen(view, scene.stops[2 * k], scene.stops[2 * k + 1]), radius, ink);
}

function stopMark(c, x, y, radius, ink) {
  c.beginPath();
  for (let k = 0; k < 8; k++) c.lineTo(x + radius * Math.cos((k + 0.5) * Math.PI / 4), y + radius * Math.sin((k + 0.5) * Math.PI / 4));
  c.closePath();
  c.fillStyle = ink.stop; c.fill();
  c.strokeStyle = ink.card; c.lineWidth = 1.2; c.stroke();
}

function drawLights(c, scene, view, ink, state) {
  const step = Math.floor(state.time), radius = Math.min(9, Math.max(3.5, 0.8 * view.scale));
  scene.lights.shown.forEach((shown, k) => {
    if (!shown) return;
    const code = scene.lights.state[k * scene.steps + step];
    lightMark(c, ...toScreen(view, scene.lights.place[2 * k], scene.lights.place[2 * k + 1]), radius, code, ink);
  });
}

// Flashing lights are rings, the others discs.
function lightMark(c, x, y, radius, code, ink) {
  const colour = ink[names.signals[code]], flashing = names.flashing.includes(code);
  c.beginPath(); c.arc(x, y, radius, 0, 2 * Math.PI);
  c.fillStyle = flashing ? ink.card : colour; c.fill();
  c.strokeStyle = flashing ? colour : ink.card; c.lineWidth = flashing ? 2.2 : 1.4; c.stroke();
}

function drawLayer(c, scene, layer, view, ink, state, { simulated, ghost }) {
  const step = Math.floor(state.time), faint = ghost ? 0.4 : 1;
  const colour = (agent) => ink[colourOf(scene, agent, simulated)];
  if (state.shown.trails) {
    for (let agent = 0; agent < scene.count; agent++) {
      const here = pose(scene, layer, agent, state.time);
      if (!here) continue;
      c.strokeStyle = colour(agent); c.lineWidth = 1.6; c.globalAlpha = 0.4 * faint;
      trail(c, scene, layer, view, agent, Math.max(0, step - Math.round(TRAIL / scene.dt)), step, here);
    }
  }
  if (state.chosen !== null) {
    c.strokeStyle = colour(state.chosen); c.lineWidth = 1; c.globalAlpha = 0.8 * faint; c.setLineDash([2, 3]);
    trail(c, scene, layer, view, state.chosen, 0, scene.steps - 1, null);
    c.setLineDash([]);
  }
  for (let agent = 0; agent < scene.count; agent++) {
    const here = pose(scene, layer, agent, state.time);
    if (!here) continue;
    const [x, y] = toScreen(view, here.x, here.y), [length, width] = extent(scene, agent, view);
    if (x < -length || y < -length || x > view.width + length || y > view.height + length) continue;
    const look = { colour: colour(agent), guessed: scene.guessed[agent], faint, flag: ghost ? undefined : flagOf(scene, agent, step), chosen: agent === state.chosen };
    agentMark(c, x, y, here.heading, length, width, look, ink);
  }
  c.globalAlpha = 1;
}

function trail(c, scene, layer, view, agent, first, last, end) {
  let pen = false;
  c.beginPath();
  for (let step = first; step <= last; step++) {
    const k = agent * scene.steps + step;
    if (layer.valid[k]) {
      const [x, y] = toScreen(view, layer.place[2 * k], layer.place[2 * k + 1]);
      if (pen) c.lineTo(x, y); else c.moveTo(x, y);
    }
    pen = layer.valid[k];
  }
  if (end && pen) c.lineTo(...toScreen(view, end.x, end.y));
  c.stroke();
}

function agentMark(c, x, y, heading, length, width, look, ink) {
  c.save();
  c.translate(x, y);
  c.rotate(-heading);
  if (look.chosen) {
    c.globalAlpha = look.faint; c.strokeStyle = ink.ink; c.lineWidth = 1.5; c.setLineDash([]);
    c.strokeRect(-length / 2 - 4, -width / 2 - 4, length + 8, width + 8);
  }
  c.globalAlpha = look.faint === 1 ? 1 : 0.35 * look.faint;
  c.fillStyle = look.colour;
  c.fillRect(-length / 2, -width / 2, length, width);
  c.globalAlpha = look.faint;
  c.setLineDash(look.guessed ? [3, 2] : []);
  c.strokeStyle = look.flag ? ink[look.flag] : look.faint === 1 ? ink.ink : look.colour;
  c.lineWidth = look.flag ? 3 : look.guessed ? 1.3 : 0.8;
  c.strokeRect(-length / 2, -width / 2, length, width);
  c.beginPath();
  c.moveTo(0.42 * length, 0); c.lineTo(0.1 * length, 0.3 * width); c.lineTo(0.1 * length, -0.3 * width); c.closePath();
  c.fillStyle = look.faint === 1 ? ink.card : look.colour;
  c.fill();
  c.restore();
}

// Ids stand beside their agents once there is room for them; the chosen agent and the recording vehicle always have theirs.
function drawIds(c, scene, view, ink, state, layer, drawn) {
  if (!drawn) return;
  c.font = FONT; c.textBaseline = "middle"; c.lineWidth = 3; c.strokeStyle = ink.ground; c.globalAlpha = 1;
  for (let agent = 0; agent < scene.count; agent++) {
    const special = agent === state.chosen || agent === scene.agents.sdc;
    const here = view.scale > 6 || special ? pose(scene, layer, agent, state.time) : null;
    if (!here) continue;
    const [x, y] = toScreen(view, here.x, here.y), [length, width] = extent(scene, agent, view);
    const aside = Math.max(width, Math.abs(length * Math.cos(here.heading))) / 2 + 4;
    c.strokeText(scene.agents.ids[agent], x + aside, y);
    c.fillStyle = special ? ink.ink : ink.soft;
    c.fillText(scene.agents.ids[agent], x + aside, y);
  }
}
