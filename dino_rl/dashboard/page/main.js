// The page: puts what the run sends where it belongs, and sends what the viewer chooses.

import { Ends, LearningCurve, Rates, Scores } from "./charts.js";
import { Sprites, paintFile, paintGray, paintMap } from "./games.js";
import { Values } from "./values.js";
import { Connection } from "./wire.js";

const STILL_MS = 4000; // without a new picture, the page says why
const KEYS = { nothing: "\u2013", jump: "\u2191", duck: "\u2193", left: "\u2190", right: "\u2192" };
const NONE = "\u2013";

const about = JSON.parse(document.getElementById("about").textContent);
const byId = (id) => document.getElementById(id);
const element = (name, text = "", className = "") => Object.assign(document.createElement(name), { textContent: text, className });

// --- What does not change: before the first paint, so that nothing jumps later ----------------------------

const TILES = {
  train: [["progress", "Progress"], ["left", "Time left"], ["rate", "Steps per second"], ["episodes", "Games played"],
    ["mean", `Mean ${about.score}`], ["best", "Best validation"]],
  play: [["games", "Games played"], ["mean", "Mean score"], ["best", "Best score"]],
  evaluate: [["progress", "Progress"], ["games", "Games played"], ["mean", "Mean score"], ["best", "Best score"]],
};
const tiles = {};
for (const [name, title] of TILES[about.kind]) {
  const box = element("div");
  const value = element("dd", NONE);
  const more = element("dd", "\u00a0", "more");
  box.append(element("dt", title), value, more);
  if (name === "progress") {
    more.className = "progress";
    more.replaceChildren(element("div"));
  }
  byId("tiles").append(box);
  tiles[name] = { value, more };
}
byId("tiles").style.setProperty("--count", TILES[about.kind].length);

const isQ = about.valuesAre === "Q-values";
byId("values-what").textContent = isQ
  ? "The Q-value of an action is the reward that the network expects from now on if it takes it. Green marks the chosen one."
  : "The probability of each action. Green marks the chosen one.";
byId("values-title").textContent = isQ ? "What the agent expects" : "What the agent intends";
byId("stage-what").textContent = !about.isImage
  ? "The last of the environments that play, as it draws itself."
  : about.games > 1 ? "The game as it looks in a browser. Choose another one below." : "The game as it looks in a browser.";
const exploring = about.games - about.greedy;
byId("games-what").textContent = about.kind === "train"
  ? `${exploring} games explore: now and then they take a random action. ${about.greedy} play greedily, without. All learn from all.`
  : "All play at the same time, as well as the agent can.";
byId("curve-what").textContent = "Higher is better. A validation is a set of greedy games that are not used for learning; it chooses the best model.";
byId("speed-fact").hidden = !about.canvas;
if (about.score !== "score") byId("large-score").nextElementSibling.textContent = "\u00a0";

const actions = about.actions;
const keys = actions.map((name) => {
  const key = element("span", KEYS[name] ?? "", "key");
  key.append(element("small", name));
  return key;
});
byId("keys").append(...(actions.length <= 6 ? keys : []));
const values = new Values(byId("bars"), actions);

const frameCount = about.isImage ? about.shape[2] : 0;
const frames = Array.from({ length: frameCount }, (_, i) => {
  const figure = element("figure");
  const canvas = Object.assign(element("canvas"), { width: about.shape[1], height: about.shape[0] });
  figure.append(canvas, element("figcaption", i === frameCount - 1 ? "newest" : i ? "" : "oldest"));
  byId("stack").append(figure);
  return canvas;
});

byId("run-facts").append(...about.facts.flatMap(({ name, value }) => [element("dt", name), element("dd", value)]));
byId("all-settings").append(...about.settings.map(({ name, value, doc }) => {
  const row = element("div", "", "setting");
  const line = element("div");
  line.append(element("code", name), element("code", value));
  row.append(line, element("div", doc, "doc"));
  return row;
}));

Object.assign(document.documentElement.dataset, {
  kind: about.kind,
  games: about.games,
  images: about.isImage,
  ends: about.knowsEnds,
  canvas: about.canvas ? "dino" : "none",
});

// --- Games ------------------------------------------------------------------------------------------------

const sprites = about.canvas ? new Sprites(about.canvas) : null;
const small = new Map(); // by game: {button, canvas, score, note}
let large = about.kind === "train" ? Math.max(0, about.games - 1) : 0;
let lastPicture = performance.now();

function tileOf(game) {
  let tile = small.get(game);
  if (!tile) {
    const button = element("button");
    const canvas = element("canvas");
    const caption = element("div", "", "caption");
    const [note, score] = [element("span"), element("b")];
    caption.append(note, score);
    button.append(canvas, caption);
    button.setAttribute("aria-label", `Show game ${game + 1} large`);
    button.onclick = () => choose(game);
    byId("small").append(button);
    tile = { button, canvas, score, note };
    small.set(game, tile);
  }
  return tile;
}
if (about.isImage) for (let game = 0; game < Math.min(about.games, 64); game++) tileOf(Math.max(0, about.games - 64) + game);

function choose(game) {
  large = game;
  connection.send({ game });
  small.forEach(({ button }, other) => button.setAttribute("aria-pressed", other === large));
}

const number = (value) => (value === null || value === undefined ? NONE
  : value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) >= 100 ? 0 : 2 }));

function showGames({ header, blobs }) {
  lastPicture = performance.now();
  const numbers = blobs.sprites && new Int16Array(blobs.sprites.buffer, blobs.sprites.byteOffset, blobs.sprites.byteLength / 2);
  const starts = numbers ? Sprites.starts(numbers) : [];
  const [height, width] = header.frameShape ?? [0, 0];
  header.games.forEach(({ game, action, greedy, score, speed, night }, i) => {
    const isLarge = game === large;
    const canvases = about.isImage ? [tileOf(game).canvas] : [];
    if (isLarge && header.image === undefined) canvases.push(byId("large"));
    for (const canvas of canvases) {
      if (numbers) {
        sprites.paint(canvas, numbers, starts[i], canvas.id === "large" ? 2 : 0.5);
        canvas.classList.add("sprites");
        canvas.classList.toggle("night", Boolean(night));
      } else if (blobs.frames) {
        paintGray(canvas, blobs.frames.subarray(i * width * height), width, height);
        canvas.classList.add("pixels");
      }
    }
    if (about.isImage) {
      const tile = tileOf(game);
      tile.button.setAttribute("aria-pressed", isLarge);
      tile.note.textContent = `${game + 1} ${action ? KEYS[actions[action]] ?? "" : ""}${about.kind === "train" && greedy ? " greedy" : ""}`;
      tile.score.textContent = score === undefined ? "" : number(score);
    }
    if (!isLarge) return;
    byId("large-name").textContent = `Game ${game + 1}`;
    byId("large-kind").textContent = about.kind !== "train" ? (about.games > 1 ? `of ${about.games}` : "\u00a0") : greedy ? "greedy" : "explores";
    byId("large-score").textContent = score === undefined ? "\u00a0" : number(score);
    byId("large-speed").textContent = speed === undefined ? NONE : speed.toFixed(1);
    keys.forEach((key, each) => key.classList.toggle("down", each === action));
  });
  if (header.image === large || (header.image !== undefined && !about.isImage)) {
    paintFile(byId("large"), blobs.image);
    byId("large").classList.toggle("sprites", Boolean(sprites));
    byId("large").classList.toggle("night", Boolean(header.games[0].night));
    if (about.isImage && small.size === 1) paintFile(tileOf(large).canvas, blobs.image);
  }
  if (header.large) values.show(header.large);
  if (blobs.stack) {
    const [rows, columns, count] = header.stackShape;
    for (let i = 0; i < count; i++) paintGray(frames[i], blobs.stack.subarray(i * rows * columns), columns, rows);
  }
}

// --- Numbers ----------------------------------------------------------------------------------------------

const curve = new LearningCurve("curve-chart", about);
const rates = new Rates("rate-chart");
const ends = new Ends("ends-chart");
const scores = new Scores("scores-chart");
const tables = { intervals: [], validations: [], iterations: [], games: [], faults: [] };
curve.rows = tables;
rates.rows = tables.intervals;
scores.rows = tables.games;

function duration(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function tell(name, value, more = "\u00a0") {
  if (!tiles[name]) return;
  tiles[name].value.textContent = value;
  if (name !== "progress") tiles[name].more.textContent = more;
}

function showProgress(now) {
  if (tiles.progress && now.share !== null && now.share !== undefined) {
    tell("progress", `${Math.round(100 * now.share)} %`);
    tiles.progress.more.firstElementChild.style.width = `${100 * now.share}%`;
  }
  if (about.kind === "train") {
    tell("left", now.secondsLeft === null ? NONE : duration(now.secondsLeft), `${duration(60 * now.minutes)} so far`);
    if (now.stepsPerS !== undefined) tell("rate", number(Math.round(now.stepsPerS)), `${number(Math.round(now.updatesPerS))} updates per second`);
    tell("episodes", number(now.episodes), `${number(now.step)}${now.steps ? ` of ${number(now.steps)}` : ""} steps`);
    tell("mean", number(now.scoreMean), "of the last 100 games");
    tell("best", number(now.best), "mean of a set of games");
  } else {
    tell("games", number(now.games), now.of ? `of ${number(now.of)}` : "until you stop it");
    tell("mean", number(now.scoreMean));
    tell("best", number(now.best));
  }
}

function addRows(news) {
  for (const [name, { all, rows }] of Object.entries(news)) {
    const table = tables[name] ??= [];
    if (all) table.length = 0;
    table.push(...rows);
  }
  if (news.intervals || news.validations || news.iterations) curve.change();
  if (news.intervals) rates.change();
  if (news.games) scores.change();
}

function showEnds(list) {
  ends.ends = list;
  ends.change();
  const games = list.reduce((sum, end) => sum + end.games, 0);
  const most = list.reduce((best, end) => (end.games > best.games ? end : best), { games: 0 });
  if (!games) return;
  byId("ends-most").textContent = `Most often of ${number(games)} ${games > 1 ? "games" : "game"}: ${most.obstacle}, while ${most.doing}, at speed ${most.speed} `
    + `(${Math.round((100 * most.games) / games)} %).`;
}

// --- The view: paused, or as fast as it goes --------------------------------------------------------------

const view = { paused: false, full: false, saliency: true };
let over = "";
let state = "lost";
let hasConnected = false;

const speed = () => ({ speed: view.paused || document.hidden ? "paused" : view.full ? "full" : "normal" });

function showStatus() {
  document.body.classList.toggle("live", state === "live" && !over);
  document.body.classList.toggle("lost", state === "lost" && !over);
  byId("status-text").textContent = over
    || (state === "lost" ? (hasConnected ? "No connection to the run, which may have ended. Trying again." : "Connecting")
      : view.paused ? "The view is paused. The run goes on."
        : view.full ? "Live, up to 30 pictures per second" : "Live, 8 pictures per second");
}

const connection = new Connection({
  greet: () => [{ game: large }, { saliency: view.saliency }, speed()],
  onState(now) {
    state = now;
    hasConnected ||= now === "live";
    lastPicture = performance.now();
    showStatus();
  },
  onMessage(message) {
    const { header, blobs } = message;
    if (header.sheets) sprites?.load(header.sheets);
    if (header.progress) showProgress(header.progress);
    if (header.tables) addRows(header.tables);
    if (header.ends) showEnds(header.ends);
    if (header.games) showGames(message);
    if (header.saliency && header.saliency.game === large) {
      const [rows, columns] = header.saliency.shape;
      paintMap(byId("map"), blobs.saliencyFrame, blobs.saliency, columns, rows);
    }
    if (header.over) {
      over = header.over;
      connection.end();
      showStatus();
    }
    document.documentElement.dataset.ready = "true";
  },
});

function toggle(id, name) {
  byId(id).onclick = () => {
    view[name] = !view[name];
    byId(id).setAttribute("aria-pressed", view[name]);
    lastPicture = performance.now();
    connection.send(speed());
    showStatus();
  };
}
toggle("pause", "paused");
toggle("full", "full");
document.addEventListener("visibilitychange", () => connection.send(speed()));
byId("saliency-on").onchange = ({ target }) => {
  view.saliency = target.checked;
  connection.send({ saliency: view.saliency });
};
byId("log").onchange = ({ target }) => {
  curve.logarithmic = target.checked;
  curve.change();
};
addEventListener("resize", () => values.paint());
setInterval(() => {
  const still = state === "live" && !over && !view.paused && performance.now() - lastPicture > STILL_MS;
  byId("still").textContent = still
    ? (about.kind === "train" ? "The games stand still while the run measures its agent or saves." : "Waiting for the games.") : "\u00a0";
}, 1000);
showStatus();
