// The live clock: counts the page's own frames and measures the delay from an observation to its key event.
// `DinoLiveWatch`.
"use strict";

window.DinoLiveWatch = class DinoLiveWatch {
  static KEPT = 16384; // maximum number of measurements

  #gameStart = 0; // the frame in which the current game began
  #observed = 0; // the frame of the last observation
  #observedAt = 0; // ... and its time
  #deciding = false; // whether that observation needs a key; a game that is over does not
  #waiting = null;
  #delays = [];
  #latencies = [];
  #frameTimes = [];

  // observation: returns the data of an observation; isOver: whether the game has ended.
  constructor(observation, isOver) {
    this.observation = observation;
    this.isOver = isOver;
    this.frames = 0;
    const tick = (time) => {
      this.frames++;
      DinoLiveWatch.#keep(this.#frameTimes, time);
      this.#answer();
      // Callbacks run in the order in which they were requested: ours, requested after the frame, runs after the
      // game's. In the opposite order each observation would be one frame old.
      setTimeout(() => requestAnimationFrame(tick), 0);
    };
    requestAnimationFrame(tick);
    for (const type of ["keydown", "keyup"]) {
      document.addEventListener(type, (event) => {
        if (!event.isTrusted || !this.#deciding || event.code === "Enter") return;
        DinoLiveWatch.#keep(this.#delays, this.frames - this.#observed);
        DinoLiveWatch.#keep(this.#latencies, performance.now() - this.#observedAt);
      }, true);
    }
  }

  static #keep(list, value) {
    if (list.length >= DinoLiveWatch.KEPT) list.shift();
    list.push(value);
  }

  beginGame() {
    this.#gameStart = this.frames;
  }

  // Frames of the current game.
  get gameFrames() {
    return this.frames - this.#gameStart;
  }

  // Resolves on the first frame that is `interval` or more frames after the last observation.
  observe(interval) {
    return new Promise((resolve) => {
      this.#waiting = { frame: this.#observed + interval, resolve };
      if (this.frames > this.#waiting.frame) this.#answer();
    });
  }

  #answer() {
    if (!this.#waiting || (this.frames < this.#waiting.frame && !this.isOver())) return;
    const { frame, resolve } = this.#waiting;
    this.#waiting = null;
    this.#observed = this.frames;
    this.#observedAt = performance.now();
    this.#deciding = !this.isOver();
    resolve({ data: this.observation(), late: Math.max(0, this.frames - frame) });
  }

  // Delays from observation to key event since the last call, in frames and in milliseconds of the page's time,
  // and the times of the frames. Keys that start the next game are not counted.
  takeDelays() {
    return {
      frames: this.#delays.splice(0),
      milliseconds: this.#latencies.splice(0),
      frame_times: this.#frameTimes.splice(0),
    };
  }
};
