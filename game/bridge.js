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
      "containerEl", "activated", "playing", "paused", "crashed", "inverted",
      "startGame", "setPlayStatus", "gameOver", "restart", "stop", "play", "setSpeed", "clearCanvas", "update"],
    "tRex": ["xPos", "yPos", "xInitialPos", "jumping", "ducking", "playingIntro", "update"],
    "horizon": ["obstacles", "obstacleTypes", "clouds", "addCloud", "nightMode", "horizonLines", "update"],
    "distanceMeter": ["update"],
    "config": ["speed", "maxSpeed", "acceleration", "clearTime", "invertDistance"],
  };

  // The canvas of an ordinary window. A small window has a narrower one, and its game is another.
  const CANVAS = [600, 150];

  const lockstep = new URLSearchParams(location.search).get("clock") === "lockstep";

  // --- Start and restart --------------------------------------------------------------------------------

  const runner = () => Runner.getInstance();

  const time = new DinoVirtualTime();
  let pristine = null; // the fields of a game that is over before its first frame
  let game = null; // the running game: its settings, keys and counters
  let displayList = null; // what the game drew in its last frame

  // Renders the page (which does not start its game inside a frame by itself) and skips the intro, which
  // waits for a CSS animation that a virtual clock does not move.
  function prepare() {
    if (lacksRunner()) return Promise.reject(new Error("missing: " + missing()));
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
        time.waiting = [];
        pristine = new DinoSnapshot(r);
        resolve();
      };
      poll();
    });
  }
  const RealTime = {
    now: Date.now.bind(Date),
    soon: (callback) => setTimeout(callback, 5),
  };

  const ownRandom = (seed) => DinoVirtualTime.generator(seed ^ 0x5bd1e995); // apart from the game's stream

  // settings: start_speed, constant_speed, birds, clear_time_ms, max_gap, night_every, dino_x, frame_jitter_ms,
  // long_frame_share, action_delay (probabilities of 0, 1, 2... frames), rewindable. See dino_rl/settings.py.
  function reset(seed, settings) {
    const r = runner();
    pristine.restore();
    time.rewind(seed);
    game = {
      settings,
      seed,
      random: ownRandom(seed),
      frames: 0,
      held: null,
      queue: [], // {frame, action}, by frame
      moments: [], // of a rewindable game, to go back to
    };
    const config = r.config;
    config.clearTime = settings.clear_time_ms;
    config.invertDistance = settings.night_every;
    setMaxGapCoefficient(settings.max_gap);
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

  // --- Back to a moment before the crash -----------------------------------------------------------------

  const MOMENT_FRAMES = 16; // from one moment that is kept to the next
  const MOMENTS = 8;
  const BACK_FRAMES = 32; // at the least: from here on there is something left to decide

  function keepMoment() {
    const { frames, held, queue, moments } = game;
    moments.push({
      frames, held,
      queue: [...queue],
      clock: time.moment(),
      state: new DinoSnapshot(runner()),
      draws: [...displayList.draws],
    });
    if (moments.length > MOMENTS) moments.shift();
  }

  // Winds the game back to one of its moments; what comes into view from there on follows from `seed`. A game
  // too short for that starts anew.
  function rewind(seed) {
    const past = game.moments.filter(({ frames }) => frames <= game.frames - BACK_FRAMES);
    if (!past.length) return reset(seed, game.settings);
    const random = ownRandom(seed);
    const { frames, held, queue, clock, state, draws } = past[Math.floor(random() * past.length)];
    state.restore();
    time.rewind(seed, clock);
    displayList.draws = [...draws];
    document.documentElement.classList.toggle("inverted", runner().inverted); // for whoever watches
    const moments = past.filter((moment) => moment.frames < frames);
    game = { ...game, seed, random, frames, held, queue: [...queue], moments };
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
    const since = game.frames - (game.moments.at(-1)?.frames ?? -Infinity);
    if (settings.rewindable && since >= MOMENT_FRAMES) keepMoment();
    game.queue.push({ frame: game.frames + drawDelay(), action });
    for (let i = 0; i < frames && !r.crashed; i++) {
      while (game.queue.length && game.queue[0].frame <= game.frames) hold(game.queue.shift().action);
      const jitter = settings.frame_jitter_ms ? (2 * game.random() - 1) * settings.frame_jitter_ms : 0;
      const lasts = settings.long_frame_share && game.random() < settings.long_frame_share ? 2 : 1;
      time.runFrame(lasts * DinoVirtualTime.FRAME_MS + jitter);
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
      r.distanceRan, r.currentSpeed, r.crashed, r.playing, r.paused, game?.frames ?? watch?.frames ?? 0, game?.seed ?? -1,
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

  const lacksRunner = () => typeof Runner === "undefined" || !Runner.getInstance;
  // Whether the page has made its game, or never will: `missing` can tell what it lacks.
  const settled = () => lacksRunner() || !!runner().tRex;

  function missing() {
    const lacks = [];
    if (lacksRunner()) return ["Runner.getInstance"];
    for (const [part, names] of Object.entries(NEEDED)) {
      const object = part ? runner()[part] : runner();
      const absent = names.filter((name) => !object || !(name in object));
      lacks.push(...absent.map((name) => (part ? `${part}.${name}` : name)));
    }
    if (typeof setMaxGapCoefficient === "undefined") lacks.push("setMaxGapCoefficient");
    const { width, height } = runner().canvas;
    if (String([width, height]) !== String(CANVAS)) lacks.push(`a canvas of ${CANVAS} (it is ${[width, height]})`);
    return lacks;
  }

  let watch = null; // of a live game
  function watchLive() {
    watch ??= new DinoLiveWatch(() => base64(observation()), () => runner().crashed);
  }

  function observe(interval, thoughts = null) {
    if (thoughts) spectate(thoughts);
    return watch.observe(interval);
  }

  function numbers() {
    const { width, height } = runner().canvas;
    return { ...DinoSnapshot.numbers(runner()), "canvas.width": width, "canvas.height": height };
  }

  window.DinoBridge = {
    STATE_FIELDS, OBSTACLES, BYTES,
    prepare, settled, reset, rewind, step, hold, missing, numbers,
    state, picture, canvas, spectate, watchLive, observe, runner,
    draws: () => displayList.draws,
    observation: () => base64(observation()),
    png: () => canvas().toDataURL("image/png"),
    takeDelays: () => watch.takeDelays(),
    pause: () => runner().stop(),
    resume: () => runner().play(),
  };
  if (lockstep) time.takeOver();
})();
