// Many lock-step games in one page, one answer for all: `DinoArena`.
//
// A request is the argument of `advance`; the answer is binary. Both go through a WebSocket that this page opens
// or, slower and simpler, through Selenium's execute_script with the answer in base64.
"use strict";

const DinoArena = (() => {
  let games = []; // the DinoBridge of each iframe
  let sheets = []; // addresses of the images that games are drawn from
  let agentFrame = null; // one for all games, so that its code is compiled once

  async function open(count) {
    const frames = [];
    for (let i = 0; i < count; i++) {
      const frame = document.createElement("iframe");
      frame.src = "../dino.html?clock=lockstep";
      const loaded = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
      const box = document.createElement("div");
      box.className = "game";
      box.appendChild(frame);
      document.body.appendChild(box);
      frames.push({ frame, loaded });
    }
    await Promise.all(frames.map(({ loaded }) => loaded));
    games = frames.map(({ frame }) => frame.contentWindow.DinoBridge);
    for (const game of games) await game.prepare();
    const { width, height } = games[0].runner().canvas;
    agentFrame = new DinoAgentFrame(width, height);
    sheets = [...new Set(games[0].draws().map(({ image }) => image.src))];
    return { fields: games[0].STATE_FIELDS, obstacles: games[0].OBSTACLES, sheets };
  }

  // States of all games (float64, count x fields), then their agent frames (uint8, count x 80 x 80), then `draws`.
  function observations(draws) {
    const count = games.length;
    const fields = games[0].STATE_FIELDS.length;
    const buffer = new ArrayBuffer(count * games[0].BYTES + draws.byteLength);
    const states = new Float64Array(buffer, 0, count * fields);
    const bytes = new Uint8Array(buffer);
    const frames = count * fields * 8;
    games.forEach((game, i) => {
      game.state(states, i * fields);
      agentFrame.fromDraws(game.draws(), bytes, frames + i * DinoAgentFrame.BYTES);
    });
    bytes.set(new Uint8Array(draws.buffer), count * games[0].BYTES);
    return buffer;
  }

  // What each game drew in its last frame, int16: the number of draws, then of each the index of its sheet, the
  // rectangle x, y, width, height there, its place x, y on the canvas, and its opacity in percent.
  function allDraws() {
    const numbers = [];
    for (const game of games) {
      const draws = game.draws();
      numbers.push(draws.length);
      for (const { image, sx, sy, width, height, x, y, alpha } of draws) {
        numbers.push(sheets.indexOf(image.src), sx, sy, width, height, x, y, Math.round(100 * alpha));
      }
    }
    return new Int16Array(numbers);
  }

  // resets: [{game, seed, settings}]; without settings, the game is rewound to a moment before its end.
  // actions: one for each game, or null: no game moves. A game that is reset does not move.
  // paint: draw all canvases. draws: the answer has what the games drew, too.
  function advance({ resets = [], actions = null, frames = 1, paint = false, draws = false }) {
    const fresh = new Set();
    for (const { game, seed, settings } of resets) {
      if (settings) games[game].reset(seed, settings);
      else games[game].rewind(seed);
      fresh.add(game);
    }
    if (actions) games.forEach((game, i) => fresh.has(i) || game.step(actions[i], frames));
    const answer = observations(draws ? allDraws() : new Int16Array());
    if (paint) games.forEach((game) => game.canvas());
    return answer;
  }

  // Shows the games one above the other, with a title and two lines beside each.
  function label(labels) {
    document.body.classList.add("rows");
    const height = Math.min(150, innerHeight / labels.length);
    document.body.style.setProperty("--height", `${height}px`);
    document.body.style.setProperty("--scale", height / 215);
    document.querySelectorAll(".game").forEach((box, i) => {
      let beside = box.querySelector(".label");
      if (!beside) {
        beside = box.appendChild(document.createElement("div"));
        beside.className = "label";
        beside.append(...labels[i].map(() => document.createElement("p")));
      }
      labels[i].forEach((line, k) => (beside.children[k].textContent = line));
      box.classList.toggle("ended", Boolean(labels[i].at(-1)));
    });
  }

  // Opens the WebSocket and returns at once; the server waits for the connection.
  function connect(url) {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      try {
        socket.send(advance(JSON.parse(data)));
      } catch (error) {
        socket.send(JSON.stringify({ error: String(error?.stack ?? error) }));
      }
    };
  }

  return {
    open,
    advance,
    label,
    connect,
    png: (i) => games[i].png(),
    pngs: () => games.map((game) => game.png()),
    stateNumbers: (i) => games[i].stateNumbers(),
  };
})();
