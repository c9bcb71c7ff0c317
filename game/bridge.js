// One game of Chrome's Dino under control: `DinoBridge`, the only global that this file adds.
//
// Loaded before the page's own script (our served page, `?clock=lockstep` or `?clock=live`) or after it
// (untouched chrome://dino, live clock). Under the lock-step clock the page's time and randomness are ours:
// a frame passes when `step` says so, and a seed replays a game frame for frame. Under the live clock the
// bridge replaces nothing; it watches the page's frames and copies the picture.
"use strict";

(() => {
  // Those of the top page, where there are many games: code and arrays of one realm run fast, of many slowly.
  const { DinoPicture, DinoDisplayList } = window.top;
  const FRAME_MS = 1000 / 60;
  const JUMP = { key: "ArrowUp", code: "ArrowUp", keyCode: 38 };
  const DUCK = { key: "ArrowDown", code: "ArrowDown", keyCode: 40 };
  const HELD_KEY = [null, JUMP, DUCK]; // by action: nothing, jump, duck
  const OBSTACLES = ["cactusSmall", "cactusLarge", "pterodactyl"];
  // What `state` writes, in this order; dino_rl/browser/game.py reads the names from here.
  const STATE_FIELDS = [
    "distance", "speed", "crashed", "playing", "paused", "frames", "seed", "dino_x", "dino_y", "jumping",
    "ducking", "night", "obstacle", "obstacle_size", "obstacle_x", "obstacle_y", "obstacle_width",
  ];
  // What the bridge uses of the page's script. `missing` names what a browser's page lacks.
  const NEEDED = {
    "": ["canvas", "canvasCtx", "tRex", "horizon", "distanceMeter", "config", "currentSpeed", "distanceRan",
      "containerEl",
      "activated", "playing", "paused", "crashed", "inverted",
      "startGame", "setPlayStatus", "gameOver", "restart", "stop", "play", "setSpeed", "clearCanvas", "update"],
    "tRex": ["xPos", "yPos", "xInitialPos", "jumping", "ducking", "playingIntro", "update"],
    "horizon": ["obstacles", "obstacleTypes", "clouds", "addCloud", "nightMode", "horizonLines", "update"],
    "distanceMeter": ["update"],
    "config": ["speed", "maxSpeed", "acceleration", "clearTime", "invertDistance"],
  };

  // The canvas of an ordinary window. A small window has a narrower one, and its game is another.
  const CANVAS = [600, 150];

  const lockstep = new URLSearchParams(location.search).get("clock") === "lockstep";

  // xoshiro128** by Blackman and Vigna (https://prng.di.unimi.it), seeded with splitmix32 steps.
  function generator(seed) {
    const state = new Uint32Array(4);
    let mix = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      mix = (mix + 0x9e3779b9) >>> 0;
      let z = mix;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      state[i] = z ^ (z >>> 16);
    }
    const rotate = (x, k) => (x << k) | (x >>> (32 - k));
    return () => {
      const result = Math.imul(rotate(Math.imul(state[1], 5), 7), 9) >>> 0;
      const t = state[1] << 9;
      state[2] ^= state[0];
      state[3] ^= state[1];
      state[1] ^= state[2];
      state[0] ^= state[3];
      state[2] ^= t;
      state[3] = rotate(state[3], 11);
      return result / 4294967296;
    };
  }

  // --- The page's clock and randomness, taken over before its script runs ------------------------------

  const clock = { now: 1000, waiting: [], nextHandle: 1 };
  let random = generator(0);

  function takeOver() {
    const RealDate = Date;
    performance.now = () => clock.now;
    window.Date = class extends RealDate {
      constructor(...args) {
        super(...(args.length ? args : [clock.now]));
      }
      static now() {
        return clock.now;
      }
    };
    Math.random = () => random();
    window.requestAnimationFrame = (callback) => {
      clock.waiting.push({ handle: clock.nextHandle, callback });
      return clock.nextHandle++;
    };
    window.cancelAnimationFrame = (handle) => {
      clock.waiting = clock.waiting.filter((entry) => entry.handle !== handle);
    };
    // The game pauses itself on these, and resizes its canvas; registered first, we can keep them from it.
    for (const type of ["blur", "focus", "visibilitychange", "resize"]) {
      window.addEventListener(type, (event) => event.stopImmediatePropagation(), true);
    }
  }

  function runFrame(milliseconds) {
    clock.now += milliseconds;
    const due = clock.waiting;
    clock.waiting = [];
    for (const entry of due) entry.callback(clock.now);
  }

  // --- Start and restart --------------------------------------------------------------------------------

  const runner = () => Runner.getInstance();

  // The game's own objects reachable from the runner, each with a copy of its fields. `restore` puts every
  // field back, so that nothing of one game (clouds, moon phase, high score, obstacle history) reaches the next.
  function snapshot(root) {
    const copies = new Map();
    const visit = (object) => {
      if (object === null || typeof object !== "object" || copies.has(object)) return;
      const prototype = Object.getPrototypeOf(object);
      const foreign = object instanceof Node || object instanceof EventTarget
        || object instanceof CanvasRenderingContext2D;
      if (foreign || (prototype === null)) return;
      copies.set(object, Array.isArray(object) ? object.slice() : { ...object });
      Object.values(object).forEach(visit);
    };
    visit(root);
    return copies;
  }

  function restore(copies) {
    for (const [object, copy] of copies) {
      if (Array.isArray(object)) object.length = 0;
      else for (const key of Object.keys(object)) if (!(key in copy)) delete object[key];
      Object.assign(object, copy);
    }
  }

  let pristine = null; // the fields of a game that is over before its first frame
  let game = null; // the running game: its settings, keys and counters
  let displayList = null; // what the game drew in its last frame

  // Renders the page (which does not start its game inside a frame by itself) and skips the intro, which
  // waits for a CSS animation that a virtual clock does not move.
  function prepare() {
    if (window.top !== window) {
      isSubFrame = false;
      document.documentElement.removeAttribute("subframe");
      updateForDnsProbe(loadTimeDataRaw);
    }
    return new Promise((resolve, reject) => {
      const started = performance.timeOrigin;
      const poll = () => {
        let ready = false;
        try {
          ready = !!runner().tRex;
        } catch (error) {
          if (RealTime.now() - started > 20000) reject(error);
        }
        if (!ready) return RealTime.soon(poll);
        const lacks = missing();
        if (lacks.length) return reject(new Error("missing: " + lacks.join(", ")));
        const r = runner();
        displayList = new DinoDisplayList(r.canvasCtx);
        r.setPlayStatus(true);
        r.activated = true;
        r.containerEl.style.width = `${r.canvas.width}px`; // what the intro's animation ends with
        r.startGame();
        r.gameOver();
        clock.waiting = [];
        pristine = snapshot(r);
        resolve();
      };
      poll();
    });
  }
  const RealTime = {
    now: Date.now.bind(Date),
    soon: (callback) => setTimeout(callback, 5),
  };

  // settings: start_speed, constant_speed, birds, clear_time_ms, dino_x, frame_jitter_ms, action_delay
  // (probabilities of 0, 1, 2... frames). See dino_rl/settings.py.
  function reset(seed, settings) {
    const r = runner();
    restore(pristine);
    clock.now = 1000;
    clock.waiting = [];
    random = generator(seed);
    game = {
      settings,
      seed,
      random: generator(seed ^ 0x5bd1e995), // apart from the game's own stream
      frames: 0,
      held: null,
      queue: [], // {frame, action}, by frame
    };
    const config = r.config;
    config.clearTime = settings.clear_time_ms;
    if (settings.constant_speed) config.acceleration = 0;
    if (!settings.birds) {
      r.horizon.obstacleTypes.find((type) => type.type === "pterodactyl").minSpeed = Infinity;
    }
    r.horizon.clouds = [];
    r.horizon.addCloud();
    r.tRex.xInitialPos = settings.dino_x;
    r.restart();
    if (settings.start_speed) r.setSpeed(settings.start_speed);
  }

  // --- Keys ---------------------------------------------------------------------------------------------

  function send(type, key, repeat = false) {
    document.dispatchEvent(new KeyboardEvent(type, { ...key, repeat, bubbles: true, cancelable: true }));
  }

  // Holds the key of `action` and no other. A key held down repeats, as a keyboard's does: that is how a
  // held jump key jumps again on landing. A held duck key needs no repeat (and one in the air would
  // restart the drop).
  function hold(action) {
    const key = HELD_KEY[action];
    if (game.held && game.held !== key) send("keyup", game.held);
    if (key && (key !== game.held || key === JUMP)) send("keydown", key, key === game.held);
    game.held = key;
  }

  // --- One step -----------------------------------------------------------------------------------------

  function drawDelay() {
    let left = game.random();
    const weights = game.settings.action_delay;
    for (let frames = 0; frames < weights.length; frames++) {
      left -= weights[frames];
      if (left < 0) return frames;
    }
    return 0;
  }

  // Runs `frames` frames (fewer if the dino crashes) under `action`; `onFrame` is called after each.
  function step(action, frames, onFrame = null) {
    const r = runner();
    const { settings } = game;
    if (r.crashed || r.paused) return;
    game.queue.push({ frame: game.frames + drawDelay(), action });
    for (let i = 0; i < frames && !r.crashed; i++) {
      while (game.queue.length && game.queue[0].frame <= game.frames) hold(game.queue.shift().action);
      const jitter = settings.frame_jitter_ms ? (2 * game.random() - 1) * settings.frame_jitter_ms : 0;
      runFrame(FRAME_MS + jitter);
      game.frames++;
      onFrame?.();
    }
  }

  // --- What leaves the page -----------------------------------------------------------------------------

  let reader = null;
  function picture(out, offset) {
    const { canvas } = runner();
    reader ??= new DinoPicture(canvas.width, canvas.height);
    if (displayList) reader.fromDraws(displayList.draws, out, offset);
    else reader.fromCanvas(canvas, out, offset);
  }

  // The canvas, painted.
  function canvas() {
    displayList?.paint();
    return runner().canvas;
  }

  function state(out, offset) {
    const r = runner();
    const obstacle = r.horizon.obstacles[0];
    const values = [
      r.distanceRan, r.currentSpeed, r.crashed, r.playing, r.paused, game?.frames ?? watcher.frames, game?.seed ?? -1,
      r.tRex.xPos, r.tRex.yPos, r.tRex.jumping, r.tRex.ducking, r.inverted,
      obstacle ? OBSTACLES.indexOf(obstacle.typeConfig.type) : -1, obstacle?.size ?? 0,
      obstacle?.xPos ?? 0, obstacle?.yPos ?? 0, obstacle?.width ?? 0,
    ];
    for (let i = 0; i < values.length; i++) out[offset + i] = Number(values[i]);
  }

  // State (float64) and picture (uint8) of this game in one buffer.
  const BYTES = STATE_FIELDS.length * 8 + DinoPicture.BYTES;
  let seen = null; // the last picture that left the page
  function observation() {
    const buffer = new ArrayBuffer(BYTES);
    state(new Float64Array(buffer, 0, STATE_FIELDS.length), 0);
    picture(new Uint8Array(buffer), STATE_FIELDS.length * 8);
    seen = new Uint8Array(buffer, STATE_FIELDS.length * 8);
    return buffer;
  }

  // Shows a person what the agent saw last, and what it made of it: {values, action, title} or null.
  let spectator = null;
  function spectate(thoughts) {
    displayList?.paint();
    if (!thoughts || !seen) return;
    spectator ??= new DinoSpectator();
    spectator.show({ picture: seen, ...thoughts });
  }

  function base64(buffer) {
    return btoa(String.fromCharCode.apply(null, new Uint8Array(buffer)));
  }

  function missing() {
    const lacks = [];
    if (typeof Runner === "undefined" || !Runner.getInstance) return ["Runner.getInstance"];
    for (const [part, names] of Object.entries(NEEDED)) {
      const object = part ? runner()[part] : runner();
      for (const name of names) {
        if (object === null || object === undefined || !(name in object)) lacks.push([part, name].filter(Boolean).join("."));
      }
    }
    const { width, height } = runner().canvas;
    if (width !== CANVAS[0] || height !== CANVAS[1]) lacks.push(`a canvas of ${CANVAS} (it is ${[width, height]})`);
    return lacks;
  }

  // Every number and truth value of the game by its path: what tests compare between clocks and seeds.
  function numbers() {
    const found = {};
    const seen = new Set();
    const visit = (object, path) => {
      if (object === null || typeof object !== "object" || seen.has(object)) return;
      if (object instanceof EventTarget || object instanceof CanvasRenderingContext2D) return;
      seen.add(object);
      for (const [name, value] of Object.entries(object)) {
        const here = path ? path + "." + name : name;
        if (typeof value === "number" || typeof value === "boolean") found[here] = value;
        else visit(value, here);
      }
    };
    visit(runner(), "");
    found["canvas.width"] = runner().canvas.width;
    found["canvas.height"] = runner().canvas.height;
    return found;
  }

  // --- The live clock: watch the page's own frames ------------------------------------------------------

  const watcher = { frames: 0, seen: 0, shown: 0, waiting: null, delays: [], latencies: [], frameTimes: [] };

  function watch() {
    const times = watcher.frameTimes;
    const tick = (time) => {
      watcher.frames++;
      times.push(time);
      if (times.length > 4096) times.splice(0, 2048);
      answer();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    for (const type of ["keydown", "keyup"]) {
      document.addEventListener(type, (event) => {
        if (!event.isTrusted) return;
        watcher.delays.push(watcher.frames - watcher.seen);
        watcher.latencies.push(performance.now() - watcher.shown);
      }, true);
    }
  }

  function answer() {
    const { waiting } = watcher;
    const r = runner();
    if (!waiting || (watcher.frames < waiting.frame && !r.crashed)) return;
    watcher.waiting = null;
    const late = watcher.frames - waiting.frame;
    watcher.seen = watcher.frames;
    watcher.shown = performance.now();
    waiting.resolve({ data: base64(observation()), late: Math.max(0, late) });
  }

  // Resolves on the first frame that lies `interval` frames or more after the last observation.
  function observe(interval, thoughts = null) {
    if (thoughts) spectate(thoughts);
    return new Promise((resolve) => {
      watcher.waiting = { frame: watcher.seen + interval, resolve };
      if (watcher.frames > watcher.waiting.frame) answer();
    });
  }

  // Delays between picture and key since the last call: in frames, and in milliseconds of the page's time.
  function takeDelays() {
    const { delays, latencies, frameTimes } = watcher;
    const taken = { frames: delays.slice(), milliseconds: latencies.slice(), frame_times: frameTimes.slice() };
    delays.length = latencies.length = frameTimes.length = 0;
    return taken;
  }

  window.DinoBridge = {
    STATE_FIELDS, OBSTACLES, BYTES, lockstep,
    prepare, reset, step, hold, picture, state, numbers, missing, watch, observe, takeDelays,
    observation: () => base64(observation()),
    spectate,
    canvas,
    draws: () => displayList.draws,
    png: () => canvas().toDataURL("image/png"),
    pause: () => runner().stop(),
    resume: () => runner().play(),
    runner,
  };
  if (lockstep) takeOver();
})();
