// A person against the agent: two lock-step games with one seed, side by side, best of three. `DinoRace`.
//
// Both games run in iframes, with the bridge in them. This page moves them frame by frame, always together. The
// person's keys and touches are one action, like the agent's, which is what the exported player (player.js)
// makes of its game's canvas.
"use strict";

const DinoRace = (() => {
  const FRAME_MS = 1000 / 60;
  const LONGEST_PAUSE_MS = 100; // after a longer one (another tab, a busy machine) the game goes on, and skips nothing
  const LOOK_MS = 800; // a round's end is shown for this long at least: the key that came too late starts no other
  const WINS = 2;
  const NOTHING = 0;
  const JUMP = 1;
  const DUCK = 2;
  const KEYS = { Space: JUMP, ArrowUp: JUMP, KeyW: JUMP, ArrowDown: DUCK, KeyS: DUCK };
  // What GameSettings in dino_rl/browser/game_settings.py has by default: the game as it is on a 60 Hz display.
  const SETTINGS = {
    start_speed: 6, constant_speed: false, birds: true, bird_odds: 1, clear_time_ms: 3000, max_gap: 1.5,
    night_every: 700, dino_x: 24, frame_jitter_ms: 0, long_frame_share: 0, action_delay: [1], rewindable: false,
  };

  const find = (selector) => document.querySelector(selector);
  const query = new URLSearchParams(location.search);

  // --- The agent ------------------------------------------------------------------------------------------------

  // Returns a function: the agent's action for the next frame, `delay` frames after it saw the canvas.
  function makeAgent(canvas) {
    const { model, values, makeCamera } = dinoPlayer;
    const camera = makeCamera();
    const interval = Math.round(model.interval_ms / FRAME_MS); // frames from one decision to the next
    const waiting = []; // decided, but not due: {frame, action}
    let seen = []; // one frame for each decision, newest last
    let count = 0;
    let action = NOTHING;
    return (delay) => {
      if (count % interval === 0) {
        const frame = camera(canvas());
        const history = (model.stack - 1) * model.stride + 1;
        seen = seen.length ? [...seen, frame].slice(-history) : Array(history).fill(frame);
        const q = values(seen.filter((_, i) => i % model.stride === 0));
        waiting.push({ frame: count + delay, action: q.indexOf(Math.max(...q)) });
      }
      while (waiting.length && waiting[0].frame <= count) ({ action } = waiting.shift());
      count++;
      return action;
    };
  }

  // --- The person -----------------------------------------------------------------------------------------------

  const held = new Map(); // by source (a key, a pointer): action
  let tapped = NOTHING; // pressed since the last frame, perhaps released again

  function press(source, action) {
    held.set(source, action);
    tapped = action;
  }

  function personsAction() {
    const action = tapped || [...held.values()].at(-1) || NOTHING;
    tapped = NOTHING;
    return action;
  }

  function listen() {
    document.addEventListener("keydown", (event) => {
      const action = KEYS[event.code];
      if (!action || event.target.matches?.("select") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.matches?.("button") && event.code === "Space" && phase !== "running") return; // presses it
      event.preventDefault(); // the page would scroll
      if (event.repeat) return;
      if (phase === "running") press(event.code, action);
      else if (action === JUMP) go();
    });
    document.addEventListener("keyup", (event) => held.delete(event.code));
    window.addEventListener("blur", () => held.clear());
    const touch = (element, action) => {
      element.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        element.setPointerCapture?.(event.pointerId);
        if (phase === "running") press(event.pointerId, action);
        else if (action === JUMP) go();
      });
      for (const type of ["pointerup", "pointercancel"]) {
        element.addEventListener(type, (event) => held.delete(event.pointerId));
      }
    };
    for (const canvas of document.querySelectorAll(".stage canvas")) touch(canvas, JUMP);
    touch(find("#duck"), DUCK);
    find("#go").addEventListener("click", go);
  }

  // --- The match ------------------------------------------------------------------------------------------------

  let lanes = []; // of you and of the agent: {name, bridge, wins, score, crashed}
  let phase = "loading"; // then ready, running, between (rounds), over
  let round = 0;
  let seed = 0;
  let frames = 0; // of this round
  let ended = -Infinity; // time of the last round's end
  let agent = null;

  function makeLane(name, iframe) {
    const element = find(`.${name}`);
    const context = element.querySelector("canvas").getContext("2d");
    return { name, element, context, bridge: iframe.contentWindow.DinoBridge, wins: 0, score: 0, crashed: false };
  }

  function newMatch() {
    seed = query.has("seed") && round === 0 ? Number(query.get("seed")) : Math.floor(Math.random() * 2 ** 31);
    round = 0;
    for (const lane of lanes) lane.wins = 0;
  }

  function newRound() {
    if (phase === "over") newMatch();
    if (round > 0) seed = (seed + 1) % 2 ** 31;
    round++;
    frames = 0;
    held.clear();
    tapped = NOTHING;
    for (const lane of lanes) {
      lane.bridge.reset(seed, SETTINGS);
      lane.bridge.step(NOTHING, 1); // draws it
      lane.crashed = false;
      lane.score = 0;
    }
    agent = makeAgent(lanes[1].bridge.canvas);
  }

  function go() {
    if (phase === "running" || performance.now() - ended < LOOK_MS) return;
    newRound();
    phase = "running";
    say("Run!");
    document.activeElement?.blur?.(); // the space key jumps from now on
    show();
  }

  function step() {
    const delay = Number(find("#handicap").value);
    const actions = [personsAction(), agent(delay)];
    frames++;
    lanes.forEach((lane, i) => {
      lane.bridge.step(actions[i], 1);
      const { crashed, distanceRan } = lane.bridge.runner();
      lane.crashed = crashed;
      lane.score = Math.round(Math.ceil(distanceRan) * 0.025);
    });
    if (lanes.some((lane) => lane.crashed)) endRound();
  }

  function endRound() {
    const [you, opponent] = lanes;
    ended = performance.now();
    if (you.crashed && opponent.crashed) {
      phase = "between";
      return say("Both crashed in the same moment: this round does not count. Space or a tap starts the next.");
    }
    const winner = you.crashed ? opponent : you;
    winner.wins++;
    const result = winner === you ? "You win" : "The agent wins";
    phase = winner.wins === WINS ? "over" : "between";
    const wins = Math.min(you.wins, opponent.wins);
    if (phase === "over") say(`${result} the match, ${WINS} to ${wins}. Space or a tap starts a rematch.`);
    else say(`${result} round ${round}. Space or a tap starts the next.`);
  }

  // --- The page -------------------------------------------------------------------------------------------------

  function say(text) {
    find("#message").textContent = text;
  }

  function show() {
    for (const { element, context, bridge, wins, score } of lanes) {
      context.clearRect(0, 0, 600, 150);
      context.drawImage(bridge.canvas(), 0, 0);
      element.querySelector(".score").textContent = score.toLocaleString("en");
      element.querySelectorAll(".pips i").forEach((pip, i) => pip.classList.toggle("won", i < wins));
      element.querySelector(".pips").title = `rounds won: ${wins}`;
    }
    const go = find("#go");
    go.disabled = phase === "running";
    go.textContent = { ready: "Start", running: "Running", between: "Next round", over: "Rematch" }[phase];
  }

  function fillHandicaps() {
    const select = find("#handicap");
    const chosen = Number(query.get("handicap") ?? 2);
    const choices = [...new Set([0, 1, 2, 3, 4, 6, chosen])].sort((a, b) => a - b);
    for (const delay of choices) {
      const text = delay ? `${delay} frame${delay > 1 ? "s" : ""} (${Math.round(delay * FRAME_MS)} ms)` : "none";
      select.append(new Option(text, delay, delay === chosen, delay === chosen));
    }
  }

  function runFrames() {
    let last = performance.now();
    let left = 0; // time that has passed and is not played yet
    function tick(now) {
      requestAnimationFrame(tick);
      left += Math.min(now - last, LONGEST_PAUSE_MS);
      last = now;
      // A quarter of a frame early is in time: on a display of 60 Hz, each of its frames is one of the game.
      for (; left > -FRAME_MS / 4 && phase === "running"; left -= FRAME_MS) step();
      if (phase !== "running") left = 0;
      if (phase !== "loading") show();
    }
    requestAnimationFrame(tick);
  }

  async function open() {
    dinoPlayer.stop(); // this page runs the games, and asks it for its values only
    fillHandicaps();
    const iframes = ["you", "agent"].map((name) => {
      const iframe = document.createElement("iframe");
      iframe.title = name;
      iframe.tabIndex = -1;
      iframe.src = "../dino.html?clock=lockstep";
      find(".games").append(iframe);
      return iframe;
    });
    await Promise.all(iframes.map((one) => new Promise((resolve) => one.addEventListener("load", resolve))));
    lanes = iframes.map((iframe, i) => makeLane(["you", "agent"][i], iframe));
    for (const { bridge } of lanes) await bridge.prepare();
    newMatch();
    for (const { bridge } of lanes) {
      bridge.reset(seed, SETTINGS);
      bridge.step(NOTHING, 1);
    }
    phase = "ready";
    say("Press space, or tap a game, to start.");
    listen();
    runFrames();
  }

  open().catch((error) => say(`The games cannot be started: ${error.message}`));

  const state = () => ({
    phase, round, seed, frames,
    lanes: lanes.map(({ name, wins, score, crashed, bridge }) => ({
      name, wins, score, crashed,
      obstacles: bridge.runner().horizon.obstacles.map(({ typeConfig, size, xPos }) => [typeConfig.type, size, xPos]),
      jumping: bridge.runner().tRex.jumping,
      ducking: bridge.runner().tRex.ducking,
    })),
  });
  return { state, SETTINGS };
})();
