// Many lock-step games in one page, one answer for all: `DinoArena`.
//
// A request is the argument of `advance`; the answer is binary. Both go through a WebSocket that this page opens
// or, slower and simpler, through Selenium's execute_script with the answer in base64.
"use strict";

const DinoArena = (() => {
  let games = []; // the DinoBridge of each iframe
  let spectator = null; // the panel for a person who watches
  let agentFrame = null; // one for all games, so that its code is compiled once

  async function open(count) {
    const frames = [];
    for (let i = 0; i < count; i++) {
      const frame = document.createElement("iframe");
      frame.src = "/dino.html?clock=lockstep";
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
    return { fields: games[0].STATE_FIELDS, obstacles: games[0].OBSTACLES };
  }

  // States of all games (float64, count x fields), then their agent frames (uint8, count x 80 x 80).
  function observations() {
    const count = games.length;
    const fields = games[0].STATE_FIELDS.length;
    const buffer = new ArrayBuffer(count * games[0].BYTES);
    const states = new Float64Array(buffer, 0, count * fields);
    const bytes = new Uint8Array(buffer);
    const frames = count * fields * 8;
    games.forEach((game, i) => {
      game.state(states, i * fields);
      agentFrame.fromDraws(game.draws(), bytes, frames + i * DinoAgentFrame.BYTES);
    });
    return buffer;
  }

  // resets: [{game, seed, settings}]; without settings, the game is rewound to a moment before its end.
  // actions: one for each game, or null: no game moves. A game that is reset does not move.
  // paint: draw all canvases. annotation: {game, values, action, title}, shown in the panel.
  function advance({ resets = [], actions = null, frames = 1, paint = false, annotation = null }) {
    const fresh = new Set();
    for (const { game, seed, settings } of resets) {
      if (settings) games[game].reset(seed, settings);
      else games[game].rewind(seed);
      fresh.add(game);
    }
    if (actions) games.forEach((game, i) => fresh.has(i) || game.step(actions[i], frames));
    const answer = observations();
    if (paint || annotation) games.forEach((game) => game.canvas());
    if (annotation) annotate(annotation, answer);
    return answer;
  }

  function annotate({ game, ...decision }, answer) {
    spectator ??= new DinoSpectator();
    const frames = games.length * games[0].STATE_FIELDS.length * 8;
    const frame = new Uint8Array(answer, frames + game * DinoAgentFrame.BYTES, DinoAgentFrame.BYTES);
    spectator.show({ frame, ...decision });
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

  return { open, advance, connect, png: (i) => games[i].png(), stateNumbers: (i) => games[i].stateNumbers() };
})();
