// Many lock-step games in one page, one answer for all: `DinoArena`.
//
// Requests are {op, ...}; answers are binary. They come through a WebSocket (?socket=PORT) or, for those who
// want to see the plain way, through Selenium's execute_script, as base64.
"use strict";

const DinoArena = (() => {
  let games = []; // the DinoBridge of each frame
  let spectator = null; // where a person watches
  let picture = null; // one reader for all: its code is compiled once

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
    picture = new DinoPicture(width, height);
    return { fields: games[0].STATE_FIELDS, obstacles: games[0].OBSTACLES };
  }

  // States of all games (float64, count x fields), then their pictures (uint8, count x 80 x 80).
  function observations() {
    const count = games.length;
    const fields = games[0].STATE_FIELDS.length;
    const buffer = new ArrayBuffer(count * games[0].BYTES);
    const states = new Float64Array(buffer, 0, count * fields);
    const bytes = new Uint8Array(buffer);
    const pictures = count * fields * 8;
    games.forEach((game, i) => {
      game.state(states, i * fields);
      picture.fromDraws(game.draws(), bytes, pictures + i * DinoPicture.BYTES);
    });
    return buffer;
  }

  // resets: [{game, seed, settings}], settings null winds the game back to a moment before its end; actions: one
  // a game, or null for none; a game just reset does not move.
  function advance({ resets = [], actions = null, frames = 1, watched = null }) {
    const fresh = new Set();
    for (const { game, seed, settings } of resets) {
      if (settings) games[game].reset(seed, settings);
      else games[game].rewind(seed);
      fresh.add(game);
    }
    if (actions) games.forEach((game, i) => fresh.has(i) || game.step(actions[i], frames));
    const answer = observations();
    if (watched) show(watched, answer);
    return answer;
  }

  // Paints all games, and shows a person what the agent makes of one: {game, values, action, title}.
  function show({ game, ...thoughts }, answer) {
    games.forEach((each) => each.canvas());
    spectator ??= new DinoSpectator();
    const pictures = games.length * games[0].STATE_FIELDS.length * 8;
    const picture = new Uint8Array(answer, pictures + game * DinoPicture.BYTES, DinoPicture.BYTES);
    spectator.show({ picture, ...thoughts });
  }

  function listen(port) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      try {
        socket.send(advance(JSON.parse(data)));
      } catch (error) {
        socket.send(JSON.stringify({ error: String(error?.stack ?? error) }));
      }
    };
    return new Promise((resolve, reject) => {
      socket.onopen = () => resolve(true);
      socket.onerror = () => reject(new Error("no connection to port " + port));
    });
  }

  return { open, advance, listen, png: (i) => games[i].png(), numbers: (i) => games[i].numbers() };
})();
