// A trained agent that plays Chrome's Dino game in the browser. One file, no network, nothing is sent anywhere.
//
//   1. Open chrome://dino, then the developer tools (F12) and their Console.
//   2. Paste this whole file and press Enter. (Chrome may ask you to type "allow pasting" first.)
//   3. Watch. To stop: press Escape in the page, or type dinoPlayer.stop() in the console.
//
// It works as a snippet (developer tools, Sources, Snippets), as <script src> and as a module, too. The agent
// sees pixels only: it reads the game's canvas, and it acts by key events. How it works, for readers who know
// JavaScript: docs/in-the-browser.md.
"use strict";

((MODEL) => {
  const SIZE = 80; // side of a frame, in pixels
  const PIXELS = SIZE * SIZE;

  // --- The network: a stack of frames -> one value for each action ------------------------------------------
  //
  // Images are Float32Arrays [height][width][channel]. Dense layers are convolutions of images of 1x1 pixels.

  const ACTIVATIONS = {
    linear: (x) => x,
    relu: (x) => (x > 0 ? x : 0),
    leaky_relu: (x) => (x > 0 ? x : 0.2 * x),
    elu: (x) => (x > 0 ? x : Math.expm1(x)),
    selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
    tanh: Math.tanh,
    sigmoid: (x) => 1 / (1 + Math.exp(-x)),
    silu: (x) => x / (1 + Math.exp(-x)),
  };

  // Base64 -> Float32Array. In half precision (IEEE 754), a number has a sign, 5 bits of exponent and 10 bits of
  // fraction.
  function decode(text, bits) {
    const { buffer } = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    if (bits === 32) return new Float32Array(buffer);
    return Float32Array.from(new Uint16Array(buffer), (half) => {
      const exponent = (half >> 10) & 31;
      const fraction = (half & 1023) / 1024;
      const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
      return half >> 15 ? -size : size;
    });
  }

  // out[o + i] += x * weights[p + i] for i < n. Nearly all of the time is spent here.
  function addScaled(x, weights, p, out, o, n) {
    const end = o + n;
    for (; o + 8 <= end; o += 8, p += 8) {
      out[o] += x * weights[p];
      out[o + 1] += x * weights[p + 1];
      out[o + 2] += x * weights[p + 2];
      out[o + 3] += x * weights[p + 3];
      out[o + 4] += x * weights[p + 4];
      out[o + 5] += x * weights[p + 5];
      out[o + 6] += x * weights[p + 6];
      out[o + 7] += x * weights[p + 7];
    }
    for (; o < end; o++, p++) out[o] += x * weights[p];
  }

  // [h][w][c] -> [oh][ow][filters]. take(n): the next n weights.
  function convolution({ kernel: [kh, kw], strides: [sy, sx], same, filters, activation }, [h, w, c], take) {
    const outputs = (n, kernel, stride) => (same ? Math.ceil(n / stride) : Math.floor((n - kernel) / stride) + 1);
    const [oh, ow] = [outputs(h, kh, sy), outputs(w, kw, sx)];
    const padding = (n, count, kernel, stride) => (same ? Math.max(0, (count - 1) * stride + kernel - n) >> 1 : 0);
    const [top, left] = [padding(h, oh, kh, sy), padding(w, ow, kw, sx)];
    const weights = take(kh * kw * c * filters); // [kh][kw][c][filters]
    const bias = take(filters);
    const start = new Float32Array(oh * ow * filters).map((_, i) => bias[i % filters]);
    // The outputs that the input at position `n` (padding included) contributes to.
    const reach = (n, count, kernel, stride) => ({
      first: Math.max(0, Math.ceil((n - kernel + 1) / stride)),
      last: Math.min(count - 1, Math.floor(n / stride)),
    });
    const rows = Array.from({ length: h }, (_, y) => reach(y + top, oh, kh, sy));
    const columns = Array.from({ length: w }, (_, x) => reach(x + left, ow, kw, sx));

    // Goes through the inputs, not the outputs, because most inputs are 0 and cost nothing: white pixels here
    // (see `makeNetwork`), and in later layers what ReLU has cut off.
    function add(input, out) {
      for (let y = 0, i = 0; y < h; y++) {
        const row = rows[y];
        for (let x = 0; x < w; x++) {
          const column = columns[x];
          for (let channel = 0; channel < c; channel++, i++) {
            const value = input[i];
            if (value === 0) continue;
            for (let oy = row.first; oy <= row.last; oy++) {
              const ky = y + top - oy * sy;
              for (let ox = column.first; ox <= column.last; ox++) {
                const kx = x + left - ox * sx;
                const p = ((ky * kw + kx) * c + channel) * filters;
                addScaled(value, weights, p, out, (oy * ow + ox) * filters, filters);
              }
            }
          }
        }
      }
    }

    const activate = ACTIVATIONS[activation];
    const out = new Float32Array(start.length);
    function run(input) {
      out.set(start);
      add(input, out);
      for (let i = 0; i < out.length; i++) out[i] = activate(out[i]);
      return out;
    }
    return { shape: [oh, ow, filters], start, add, run };
  }

  // Maximum of each 2x2 square. [h][w][c] -> [ceil(h / 2)][ceil(w / 2)][c]
  function pooling(_, [h, w, c]) {
    const shape = [Math.ceil(h / 2), Math.ceil(w / 2), c];
    const out = new Float32Array(shape[0] * shape[1] * c);
    function run(input) {
      out.fill(-Infinity);
      for (let y = 0, i = 0; y < h; y++) {
        for (let x = 0; x < w; x++) {
          const o = ((y >> 1) * shape[1] + (x >> 1)) * c;
          for (let channel = 0; channel < c; channel++, i++) {
            out[o + channel] = Math.max(out[o + channel], input[i]);
          }
        }
      }
      return out;
    }
    return { shape, run };
  }

  const dense = (layer, [h, w, c], take) =>
    convolution({ ...layer, kernel: [1, 1], strides: [1, 1], filters: layer.units }, [1, 1, h * w * c], take);

  const LAYERS = { convolution, pooling, dense };

  // Returns a function: `stack` Uint8Arrays [80][80], oldest first -> Float32Array [actions].
  function makeNetwork({ weights: text, bits, stack, black, white, body, streams }) {
    const weights = decode(text, bits);
    let used = 0;
    const take = (n) => weights.subarray(used, (used += n));
    const build = (layers, shape) => layers.map((layer) => {
      const built = LAYERS[layer.kind](layer, shape, take);
      shape = built.shape;
      return built;
    });
    const layers = build(body, [SIZE, SIZE, stack]);
    const features = layers.at(-1).shape;
    const heads = Object.fromEntries(
      Object.entries(streams).map(([name, stream]) => [name, build(stream, features)]),
    );
    // The network was trained on pixels from `black` to `white`. Here white is 0, and the first layer starts from
    // its response to a white image. The sums are the same.
    const input = new Float32Array(PIXELS * stack);
    layers[0].add(new Float32Array(input.length).fill(white), layers[0].start);
    const darkness = Float32Array.from({ length: 256 }, (_, brightness) => (black - white) * (1 - brightness / 255));
    const run = (all, x) => all.reduce((out, layer) => layer.run(out), x);

    return (frames) => {
      for (let c = 0; c < stack; c++) {
        const frame = frames[c];
        for (let i = 0, j = c; i < PIXELS; i++, j += stack) input[j] = darkness[frame[i]];
      }
      const found = run(layers, input);
      if (heads.q) return run(heads.q, found).slice();
      // Dueling: the value of the situation, plus the advantage of each action over their mean.
      const [value] = run(heads.value, found);
      const advantages = run(heads.advantage, found);
      const mean = advantages.reduce((sum, advantage) => sum + advantage) / advantages.length;
      return advantages.map((advantage) => value + advantage - mean);
    };
  }

  // --- The frame: canvas -> 80x80 grayscale, area mean --------------------------------------------------------
  //
  // Rows 24 to 150 of the game's 600x150 picture, on white. The score is above row 24: the agent must not read it.
  // In a narrow window the canvas shows less of the world; the rest stays white.

  const WIDTH = 600;
  const HEIGHT = 126;
  const TOP = 24;

  function makeCamera() {
    const context = new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d", { alpha: false, willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    const sums = new Int32Array((SIZE + 1) * (SIZE + 1)); // darkness, [81][81]: the last row and column stay 0
    // For each source pixel: the frame pixel in which it starts, and how much of it is in there, in 1/80.
    const share = (length) => Array.from({ length }, (_, i) => {
      const target = Math.floor((i * SIZE) / length);
      return { target, inside: Math.min(SIZE, (target + 1) * length - i * SIZE) };
    });
    const rows = share(HEIGHT);
    const target = Int32Array.from(share(WIDTH), (column) => column.target);
    const inside = Int32Array.from(share(WIDTH), (column) => column.inside);

    // Returns Uint8Array [80][80].
    return (canvas) => {
      const scale = canvas.height / (TOP + HEIGHT); // above 1 on displays with more than one pixel per CSS pixel
      context.fillStyle = "#fff";
      context.fillRect(0, 0, WIDTH, HEIGHT);
      context.drawImage(
        canvas, 0, TOP * scale, canvas.width, HEIGHT * scale, 0, 0, canvas.width / scale, HEIGHT,
      );
      const { data } = context.getImageData(0, 0, WIDTH, HEIGHT);
      const colors = new Uint32Array(data.buffer);
      sums.fill(0);
      for (let y = 0, i = 0; y < HEIGHT; y++) {
        const above = rows[y].inside;
        const below = SIZE - above;
        const line = rows[y].target * (SIZE + 1);
        for (let x = 0; x < WIDTH; x++, i++) {
          if (colors[i] === 0xffffffff) continue; // white, as most are
          const luma = (data[4 * i] * 4899 + data[4 * i + 1] * 9617 + data[4 * i + 2] * 1868 + 8192) >> 14;
          const left = (255 - luma) * inside[x];
          const right = (255 - luma) * (SIZE - inside[x]);
          const at = line + target[x];
          sums[at] += left * above;
          sums[at + 1] += right * above;
          sums[at + SIZE + 1] += left * below;
          sums[at + SIZE + 2] += right * below;
        }
      }
      const frame = new Uint8Array(PIXELS);
      for (let i = 0; i < PIXELS; i++) {
        const sum = sums[i + Math.floor(i / SIZE)];
        frame[i] = 255 - Math.round(sum / (WIDTH * HEIGHT));
      }
      return frame;
    };
  }

  // --- The keys -----------------------------------------------------------------------------------------------

  const UP = { key: "ArrowUp", code: "ArrowUp", keyCode: 38 };
  const DOWN = { key: "ArrowDown", code: "ArrowDown", keyCode: 40 };
  const HELD_KEY = [null, UP, DOWN]; // by action: nothing, jump, duck
  let held = null;

  function send(type, key, repeat = false) {
    document.dispatchEvent(new KeyboardEvent(type, { ...key, repeat, bubbles: true, cancelable: true }));
  }

  // Holds the key of `action` down and no other. A held jump key repeats, so that the dino jumps again on landing.
  function hold(action) {
    const key = HELD_KEY[action];
    if (held && held !== key) send("keyup", held);
    if (key && (key !== held || key === UP)) send("keydown", key, key === held);
    held = key;
  }

  // Starts the game, starts it again after a crash, or continues it after a pause.
  function tap() {
    hold(0);
    send("keydown", UP);
    send("keyup", UP);
  }

  // --- The panel: what the network sees, and its values -------------------------------------------------------

  // For the panel and the console only, from the game's own variables. The agent does not see it.
  function status() {
    try {
      const { distanceRan, crashed } = Runner.getInstance ? Runner.getInstance() : Runner.instance_;
      return { score: Math.round(Math.ceil(distanceRan) * 0.025), crashed };
    } catch {
      return { score: null, crashed: false }; // another version of the game
    }
  }

  function makePanel() {
    const element = document.createElement("canvas");
    const [width, height, sharpness] = [180, 276, window.devicePixelRatio];
    element.width = width * sharpness;
    element.height = height * sharpness;
    element.style.cssText = `position:fixed;right:12px;bottom:12px;z-index:1000;pointer-events:none;
      width:${width}px;height:${height}px;border:1px solid #ccc;border-radius:8px`;
    document.body.append(element);
    const context = element.getContext("2d");
    context.scale(sharpness, sharpness);
    context.font = "12px system-ui, sans-serif";
    const small = new OffscreenCanvas(SIZE, SIZE).getContext("2d");
    const image = small.createImageData(SIZE, SIZE);
    const pixels = new Uint32Array(image.data.buffer);

    function show(frame, values, action, milliseconds) {
      for (let i = 0; i < PIXELS; i++) pixels[i] = 0xff000000 + frame[i] * 0x010101; // RGBA bytes of a gray
      small.putImageData(image, 0, 0);
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, height);
      context.imageSmoothingEnabled = false;
      context.drawImage(small.canvas, 10, 10, 2 * SIZE, 2 * SIZE);
      context.strokeStyle = "#ddd";
      context.strokeRect(9.5, 9.5, 2 * SIZE + 1, 2 * SIZE + 1);
      const worst = Math.min(...values);
      const spread = Math.max(...values) - worst || 1;
      values.forEach((value, i) => {
        const y = 190 + 18 * i;
        context.fillStyle = i === action ? "#2a7" : "#bbb";
        context.fillRect(62, y - 8, (60 * (value - worst)) / spread + 1, 8);
        context.fillStyle = "#333";
        context.fillText(MODEL.actions[i], 10, y);
        context.fillText(value.toFixed(3), 134, y);
      });
      context.fillText(`score ${status().score ?? "?"}   ${milliseconds.toFixed(1)} ms`, 10, 248);
      context.fillStyle = "#999";
      context.fillText("dino-rl   Escape stops", 10, 266);
    }
    return { show, remove: () => element.remove() };
  }

  // --- The page's frames ----------------------------------------------------------------------------------------
  //
  // The game rounds positions in every frame: on a display of 120 Hz its obstacles are up to a third slower, and it
  // accelerates twice as fast. The agent learned at 60 Hz. So this file replaces requestAnimationFrame, and passes a
  // fast display's frames on only when at least MIN_FRAME_MS have passed: every second one of 120 Hz. It has the
  // callbacks run before `onFrame`, which then sees what they have drawn.

  const MIN_FRAME_MS = 12.6;

  // Calls onFrame(time) after the page's own callbacks, in each frame that is passed on. Returns how to end it.
  function takeFrames(onFrame) {
    const original = { request: requestAnimationFrame, cancel: cancelAnimationFrame };
    let waiting = new Map(); // callbacks by handle
    let handle = 2 ** 31; // above the browser's own
    let last = -Infinity;
    let next = original.request.call(globalThis, tick);
    function tick(time) {
      next = original.request.call(globalThis, tick);
      if (time - last < MIN_FRAME_MS) return;
      last = time;
      const due = waiting;
      waiting = new Map();
      for (const callback of due.values()) callback(time);
      onFrame(time);
    }
    globalThis.requestAnimationFrame = (callback) => {
      waiting.set(++handle, callback);
      return handle;
    };
    globalThis.cancelAnimationFrame = (one) => waiting.delete(one) || original.cancel.call(globalThis, one);
    return () => {
      original.cancel.call(globalThis, next);
      globalThis.requestAnimationFrame = original.request;
      globalThis.cancelAnimationFrame = original.cancel;
      for (const callback of waiting.values()) requestAnimationFrame(callback);
    };
  }

  // --- The loop -------------------------------------------------------------------------------------------------

  const STILL_MS = 1500; // the game waits for a key when its picture stands still for this long
  const OVER_MS = 100; // ... and is over, or paused, when it stands still for this long
  const SPACING_MS = MODEL.stride * MODEL.interval_ms; // from one frame of a stack to the next
  const HISTORY_MS = MODEL.stack * SPACING_MS;
  const TOLERANCE_MS = MODEL.interval_ms / 4; // of the time of a decision: half a frame of 60 Hz
  const KEPT = 65536; // measurements, of each kind: a game of a quarter of an hour
  const values = makeNetwork(MODEL);
  const log = (text) => console.log(`dino-rl: ${text}`);

  let camera = null;
  let panel = null;
  let endFrames = null; // null: stopped
  let canvas = null;
  let due = 0; // time of the next decision
  let seen = []; // {time, frame}, of the last HISTORY_MS, newest last
  let changed = 0; // time at which the picture last changed
  let decisions = 0;
  let late = 0; // decisions that came more than half a frame of 60 Hz late
  let scores = []; // of the games that are over
  let measured = { decision_ms: [], read_ms: [], frame_times: [] };

  function keep(name, value) {
    if (measured[name].length < KEPT) measured[name].push(value);
  }

  function onFrame(time) {
    keep("frame_times", time);
    if (!canvas?.isConnected) {
      canvas = document.querySelector("canvas.runner-canvas");
      if (!canvas) return;
      log(`${MODEL.about} plays from pixels. To stop, press Escape in the page or type dinoPlayer.stop().`);
    }
    const started = performance.now();
    const frame = camera(canvas);
    const read = performance.now() - started;
    const before = seen.at(-1)?.frame;
    if (before?.some((brightness, i) => brightness !== frame[i])) changed = time;
    seen = [...seen.filter((one) => one.time >= time - HISTORY_MS), { time, frame }];
    if (!before) return;
    const isLate = time - due > TOLERANCE_MS;
    if (isDue(time)) decide(time, started, read, isLate);
  }

  // The agent was trained to decide every `interval_ms` (two frames at 60 Hz), so it decides at that rate on any
  // display. Each decision corrects a tenth of the difference to the display's clock, which is never exactly 60 Hz.
  function isDue(time) {
    const error = time - due;
    if (error < -TOLERANCE_MS) return false;
    due = time + MODEL.interval_ms - (error > TOLERANCE_MS ? 0 : 0.9 * error);
    return true;
  }

  // The last frame, and those nearest to 1, 2, ... spacings before it; oldest first.
  function stackAt(time) {
    return Array.from({ length: MODEL.stack }, (_, i) => {
      const wanted = time - (MODEL.stack - 1 - i) * SPACING_MS;
      const distance = (one) => Math.abs(one.time - wanted);
      return seen.reduce((best, one) => (distance(one) < distance(best) ? one : best)).frame;
    });
  }

  function decide(time, started, read, isLate) {
    if (time - changed >= STILL_MS) return nextGame(time);
    if (time - changed >= OVER_MS) return hold(0);
    const q = values(stackAt(time));
    const action = q.indexOf(Math.max(...q));
    hold(action);
    const milliseconds = performance.now() - started;
    keep("read_ms", read);
    keep("decision_ms", milliseconds);
    late += isLate;
    if (decisions++ % 3 === 0) panel?.show(seen.at(-1).frame, q, action, milliseconds);
  }

  function nextGame(time) {
    const { score, crashed } = status();
    if (crashed) {
      scores.push(score);
      log(`game ${scores.length} ended at ${score}.`);
    }
    seen = [];
    changed = time;
    tap();
  }

  function onKey(event) {
    if (event.key === "Escape" && event.isTrusted) stop();
  }

  function start({ panel: wanted = true } = {}) {
    if (endFrames) return;
    const blank = Array.from({ length: MODEL.stack }, () => new Uint8Array(PIXELS).fill(200));
    for (let i = 0; i < 20; i++) values(blank); // the browser compiles what it has run often
    camera = makeCamera();
    canvas = null;
    showPanel(wanted);
    seen = [];
    changed = -Infinity; // if the picture stands still, start at once
    document.addEventListener("keydown", onKey, true);
    due = performance.now();
    endFrames = takeFrames(onFrame);
    if (!document.querySelector("canvas.runner-canvas")) log("waiting for a Dino game: it is at chrome://dino.");
  }

  function stop() {
    if (!endFrames) return;
    endFrames();
    endFrames = null;
    hold(0);
    showPanel(false);
    document.removeEventListener("keydown", onKey, true);
    log(`stopped after ${decisions} decisions; scores of finished games: ${scores.join(", ") || "none"}.`);
  }

  function showPanel(wanted) {
    panel?.remove();
    panel = wanted ? makePanel() : null;
  }

  // Measurements since the last call.
  function takeMeasurements() {
    const taken = { ...measured, decisions, late, scores: [...scores] };
    measured = { decision_ms: [], read_ms: [], frame_times: [] };
    return taken;
  }

  globalThis.dinoPlayer?.stop();
  globalThis.dinoPlayer = {
    start, stop, showPanel, takeMeasurements, status, values, makeCamera, model: MODEL,
  };
  if (globalThis.document) start();
})(
  /* MODEL: `export` writes it here */
);
