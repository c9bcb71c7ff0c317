// The live clock: watches the page's own frames, and how long a key takes to answer a picture. `DinoLiveWatch`.
"use strict";

window.DinoLiveWatch = class DinoLiveWatch {
  static KEPT = 16384; // measurements kept, at the most

  #seen = 0; // the frame of the last observation
  #shown = 0; // ... and its time
  #deciding = false; // whether that observation asks for a key: a game that is over does not
  #waiting = null;
  #delays = [];
  #latencies = [];
  #frameTimes = [];

  // observation: makes what an observer gets; isOver: whether the game has ended.
  constructor(observation, isOver) {
    this.observation = observation;
    this.isOver = isOver;
    this.frames = 0;
    const tick = (time) => {
      this.frames++;
      DinoLiveWatch.#keep(this.#frameTimes, time);
      this.#answer();
      // Callbacks run in the order of their requests: ours, made after the frame, runs after the game's. The
      // other way round, each picture would be that of the frame before.
      setTimeout(() => requestAnimationFrame(tick), 0);
    };
    requestAnimationFrame(tick);
    for (const type of ["keydown", "keyup"]) {
      document.addEventListener(type, (event) => {
        if (!event.isTrusted || !this.#deciding || event.code === "Enter") return;
        DinoLiveWatch.#keep(this.#delays, this.frames - this.#seen);
        DinoLiveWatch.#keep(this.#latencies, performance.now() - this.#shown);
      }, true);
    }
  }

  static #keep(list, value) {
    if (list.length >= DinoLiveWatch.KEPT) list.shift();
    list.push(value);
  }

  // Resolves on the first frame that lies `interval` frames or more after the last observation.
  observe(interval) {
    return new Promise((resolve) => {
      this.#waiting = { frame: this.#seen + interval, resolve };
      if (this.frames > this.#waiting.frame) this.#answer();
    });
  }

  #answer() {
    if (!this.#waiting || (this.frames < this.#waiting.frame && !this.isOver())) return;
    const { frame, resolve } = this.#waiting;
    this.#waiting = null;
    this.#seen = this.frames;
    this.#shown = performance.now();
    this.#deciding = !this.isOver();
    resolve({ data: this.observation(), late: Math.max(0, this.frames - frame) });
  }

  // Delays between picture and key since the last call, in frames and in milliseconds of the page's time, and
  // the times of the frames. Keys that start the next game answer no picture.
  takeDelays() {
    return {
      frames: this.#delays.splice(0),
      milliseconds: this.#latencies.splice(0),
      frame_times: this.#frameTimes.splice(0),
    };
  }
};
