// The lock-step clock: controls a page's time and random numbers. `DinoVirtualTime`.
//
// Loaded before the page's own script. Nothing is replaced until `takeOver` is called.
"use strict";

window.DinoVirtualTime = class DinoVirtualTime {
  static FRAME_MS = 1000 / 60;

  constructor() {
    this.rewind(0);
  }

  // Sets the time to the start of a game, or to a `moment`, and seeds the random numbers.
  rewind(seed, { now, waiting, nextHandle } = { now: 1000, waiting: [], nextHandle: 1 }) {
    this.now = now;
    this.waiting = [...waiting]; // callbacks for the next frame
    this.nextHandle = nextHandle;
    this.random = DinoVirtualTime.generator(seed);
  }

  // The current state of the clock, for `rewind`.
  moment() {
    return { now: this.now, waiting: [...this.waiting], nextHandle: this.nextHandle };
  }

  takeOver() {
    const time = this;
    const RealDate = Date;
    performance.now = () => time.now;
    window.Date = class extends RealDate {
      constructor(...args) {
        super(...(args.length ? args : [time.now]));
      }
      static now() {
        return time.now;
      }
    };
    Math.random = () => time.random();
    window.requestAnimationFrame = (callback) => {
      time.waiting.push({ handle: time.nextHandle, callback });
      return time.nextHandle++;
    };
    window.cancelAnimationFrame = (handle) => {
      time.waiting = time.waiting.filter((entry) => entry.handle !== handle);
    };
    // On these events the game pauses itself or resizes its canvas. Our listeners are registered first, so they
    // can stop the events.
    for (const type of ["blur", "focus", "visibilitychange", "resize"]) {
      window.addEventListener(type, (event) => event.stopImmediatePropagation(), true);
    }
  }

  runFrame(milliseconds) {
    this.now += milliseconds;
    const due = this.waiting;
    this.waiting = [];
    for (const { callback } of due) callback(this.now);
  }

  // xoshiro128** by Blackman and Vigna (https://prng.di.unimi.it), seeded with splitmix32 steps.
  static generator(seed) {
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
};
