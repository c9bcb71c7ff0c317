// A copy of the whole state of a game, made by visiting all its objects: `DinoSnapshot`.
"use strict";

window.DinoSnapshot = class DinoSnapshot {
  #copies = new Map();

  // Copies the fields of every object that is reachable from `root`, except objects of the browser.
  constructor(root) {
    const visit = (object) => {
      if (!DinoSnapshot.#isState(object) || this.#copies.has(object)) return;
      this.#copies.set(object, Array.isArray(object) ? object.slice() : { ...object });
      Object.values(object).forEach(visit);
    };
    visit(root);
  }

  static #isState(value) {
    return value !== null && typeof value === "object"
      && !(value instanceof EventTarget) && !(value instanceof CanvasRenderingContext2D);
  }

  // Restores every field, so that nothing of one game (clouds, moon phase, high score, obstacle history)
  // remains in the next.
  restore() {
    for (const [object, copy] of this.#copies) {
      if (Array.isArray(object)) object.length = 0;
      else for (const key of Object.keys(object)) if (!(key in copy)) delete object[key];
      Object.assign(object, copy);
    }
  }

  // Every number and Boolean below `root`, by its path. Tests compare them between clocks and seeds.
  static numbers(root) {
    const found = {};
    const seen = new Set();
    const visit = (object, path) => {
      if (!DinoSnapshot.#isState(object) || seen.has(object)) return;
      seen.add(object);
      for (const [name, value] of Object.entries(object)) {
        const here = path ? `${path}.${name}` : name;
        if (typeof value === "number" || typeof value === "boolean") found[here] = value;
        else visit(value, here);
      }
    };
    visit(root, "");
    return found;
  }
};
