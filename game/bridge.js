// One game of Chrome's Dino under control: `DinoBridge`, the only global that this file adds.
//
// Loaded before the page's own script (our served page, `?clock=lockstep` or `?clock=live`) or after it
// (untouched chrome://dino, live clock). Under the lock-step clock the bridge controls the page's time and random
// numbers: frames run only in `step`, and a seed replays a game frame by frame. Under the live clock the bridge
// replaces nothing; it observes the page's frames and reads its canvas.
"use strict";

(() => {
  // Of the top page, where there are many games: code and arrays of one realm are fast, of many realms slow.
  const { DinoAgentFrame, DinoDisplayList } = window.top;
  const JUMP = { key: "ArrowUp", code: "ArrowUp", keyCode: 38 };
  const DUCK = { key: "ArrowDown", code: "ArrowDown", keyCode: 40 };
  const HELD_KEY = [null, JUMP, DUCK]; // by action: nothing, jump, duck
  const OBSTACLES = ["cactusSmall", "cactusLarge", "pterodactyl"];
  // What `state` writes, in this order. dino_rl/browser/ reads the names from here.
  const STATE_FIELDS = [
    "distance", "speed", "crashed", "playing", "paused", "frames", "seed", "dino_x", "dino_y", "jumping",
    "ducking", "night", "obstacle", "obstacle_size", "obstacle_x", "obstacle_y", "obstacle_width",
  ];
  // What the bridge uses of the page's script; `missing` reports what a browser's page lacks.
  const NEEDED = {
    "": ["canvas", "canvasCtx", "tRex", "horizon", "distanceMeter", "config", "currentSpeed", "distanceRan",
      "containerEl", "activated", "playing", "paused", "crashed", "inverted",
      "startGame", "setPlayStatus", "gameOver", "restart", "stop", "play", "setSpeed", "clearCanvas", "update"],
    "tRex": ["xPos", "yPos", "xInitialPos", "jumping", "ducking", "playingIntro", "update"],
    "horizon": ["obstacles", "obstacleTypes", "clouds", "addCloud", "nightMode", "horizonLines", "update"],
    "distanceMeter": ["update"],
    "config": ["speed", "maxSpeed", "acceleration", "clearTime", "invertDistance"],
  };

  // Size of the canvas in an ordinary window. In a small window it is narrower, and the game differs.
  const CANVAS = [600, 150];

  const lockstep = new URLSearchParams(location.search).get("clock") === "lockstep";

  // --- Start and restart --------------------------------------------------------------------------------

  const runner = () => Runner.getInstance();

  const time = new DinoVirtualTime();
  let pristine = null; // snapshot of a game that is over before its first frame: every reset starts from it
  let game = null; // the running game: its settings, keys and counters
  let displayList = null; // what the game drew in its last frame

  // Renders the page (which does not start its game inside an iframe by itself) and skips the intro, which
  // waits for a CSS animation that a virtual clock does not advance.
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
        r.containerEl.style.width = `${r.canvas.width}px`; // as at the end of the intro's animation
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

  // Random numbers of the bridge, independent of the game's own.
  const ownRandom = (seed) => DinoVirtualTime.generator(seed ^ 0x5bd1e995);

  // Starts a new game. settings: the fields of GameSettings in dino_rl/browser/game_settings.py.
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
      moments: [], // of a rewindable game: what `rewind` can return to
    };
    const config = r.config;
    config.clearTime = settings.clear_time_ms;
    config.invertDistance = settings.night_every;
    setMaxGapCoefficient(settings.max_gap);
    if (settings.constant_speed) config.acceleration = 0;
    const { obstacleTypes } = r.horizon;
    const bird = obstacleTypes.find((type) => type.type === "pterodactyl");
    if (!settings.birds) bird.minSpeed = Infinity;
    // In front: the page leaves out the last of the list, which is no obstacle.
    for (let i = 1; i < settings.bird_odds; i++) obstacleTypes.unshift(bird);
    r.horizon.clouds = [];
    r.horizon.addCloud();
    r.tRex.xInitialPos = settings.dino_x;
    r.restart();
    if (settings.start_speed) r.setSpeed(settings.start_speed);
  }

  // --- Rewinding ----------------------------------------------------------------------------------------

  const MOMENT_FRAMES = 16; // from one saved moment to the next
  const MOMENTS = 8;
  const MIN_REWIND_FRAMES = 32; // closer to the crash there is nothing left to decide

  function saveMoment() {
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

  // Rewinds the game to one of its saved moments; the obstacles that appear from there on depend on `seed`.
  // A game too short for that is reset.
  function rewind(seed) {
    const past = game.moments.filter(({ frames }) => frames <= game.frames - MIN_REWIND_FRAMES);
    if (!past.length) return reset(seed, game.settings);
    const random = ownRandom(seed);
    const { frames, held, queue, clock, state, draws } = past[Math.floor(random() * past.length)];
    state.restore();
    time.rewind(seed, clock);
    displayList.draws = [...draws];
    document.documentElement.classList.toggle("inverted", runner().inverted); // as drawn in a window
    const moments = past.filter((moment) => moment.frames < frames);
    game = { ...game, seed, random, frames, held, queue: [...queue], moments };
  }

  // --- Keys ---------------------------------------------------------------------------------------------

  function send(type, key, repeat = false) {
    document.dispatchEvent(new KeyboardEvent(type, { ...key, repeat, bubbles: true, cancelable: true }));
  }

  // Holds the key of `action` down and no other. A held key repeats as on a keyboard, so a held jump key jumps
  // again on landing. A held duck key needs no repeat (in the air, a repeat would restart the drop).
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
    if (settings.rewindable && since >= MOMENT_FRAMES) saveMoment();
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

  // --- Observations -------------------------------------------------------------------------------------

  let converter = null;
  function agentFrame(out, offset) {
    const { canvas } = runner();
    converter ??= new DinoAgentFrame(canvas.width, canvas.height);
    if (displayList) converter.fromDraws(displayList.draws, out, offset);
    else converter.fromCanvas(canvas, out, offset);
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
      r.distanceRan, r.currentSpeed, r.crashed, r.playing, r.paused,
      game?.frames ?? watch?.gameFrames ?? 0, game?.seed ?? -1,
      r.tRex.xPos, r.tRex.yPos, r.tRex.jumping, r.tRex.ducking, r.inverted,
      obstacle ? OBSTACLES.indexOf(obstacle.typeConfig.type) : -1, obstacle?.size ?? 0,
      obstacle?.xPos ?? 0, obstacle?.yPos ?? 0, obstacle?.width ?? 0,
    ];
    for (let i = 0; i < values.length; i++) out[offset + i] = Number(values[i]);
  }

  // State (float64) and agent frame (uint8) of this game in one buffer.
  const BYTES = STATE_FIELDS.length * 8 + DinoAgentFrame.BYTES;
  let lastFrame = null; // the agent frame of the last observation
  function observation() {
    const buffer = new ArrayBuffer(BYTES);
    state(new Float64Array(buffer, 0, STATE_FIELDS.length), 0);
    agentFrame(new Uint8Array(buffer), STATE_FIELDS.length * 8);
    lastFrame = new Uint8Array(buffer, STATE_FIELDS.length * 8);
    return buffer;
  }

  // Paints the canvas, and shows the last agent frame with the decision made on it: {values, action, title} or null.
  let spectator = null;
  function show(annotation) {
    displayList?.paint();
    if (!annotation || !lastFrame) return;
    spectator ??= new DinoSpectator();
    spectator.show({ frame: lastFrame, ...annotation });
  }

  function base64(buffer) {
    return btoa(String.fromCharCode.apply(null, new Uint8Array(buffer)));
  }

  const lacksRunner = () => typeof Runner === "undefined" || !Runner.getInstance;
  // Whether the page has created its game, or never will (then `missing` reports why).
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

  function observe(interval, annotation = null) {
    if (annotation) show(annotation);
    return watch.observe(interval);
  }

  function stateNumbers() {
    const { width, height } = runner().canvas;
    return { ...DinoSnapshot.numbers(runner()), "canvas.width": width, "canvas.height": height };
  }

  window.DinoBridge = {
    STATE_FIELDS, OBSTACLES, BYTES,
    prepare, settled, reset, rewind, step, hold, missing, stateNumbers,
    state, agentFrame, canvas, show, watchLive, observe, runner,
    draws: () => displayList.draws,
    observation: () => base64(observation()),
    png: () => canvas().toDataURL("image/png"),
    beginLiveGame: () => watch.beginGame(),
    takeDelays: () => watch.takeDelays(),
    pause: () => runner().stop(),
    resume: () => runner().play(),
  };
  if (lockstep) {
    // The same game on any display: a sharper canvas would be larger, and the dark scheme has stars at day.
    Object.defineProperty(window, "devicePixelRatio", { value: 1 });
    const matchMedia = window.matchMedia.bind(window);
    window.matchMedia = (query) => matchMedia(/prefers-color-scheme/.test(query) ? "not all" : query);
    time.takeOver();
  }
})();
