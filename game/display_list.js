// A canvas that is painted only on demand: `DinoDisplayList` records the game's draws as a list.
//
// Under the lock-step clock most frames are never shown. The list of the last frame is enough to compute the
// agent's frame (agent_frame.js; about 20 us instead of the 400 us of reading a canvas back) and to paint the
// canvas when a person or a test asks for it.
"use strict";

window.DinoDisplayList = class DinoDisplayList {
  #context;
  #stack = [];
  #pen = { x: 0, y: 0, alpha: 1 };
  #sheets = new Map();

  // Replaces the drawing methods of `context`, the 2d context of the game's canvas.
  constructor(context) {
    this.#context = context;
    this.draws = [];
    const pen = () => this.#pen;
    Object.defineProperty(context, "globalAlpha", {
      get: () => pen().alpha,
      set: (alpha) => {
        // As on a real canvas, a value outside 0..1 is ignored. (The moon's fade exceeds 1.)
        if (alpha >= 0 && alpha <= 1) pen().alpha = alpha;
      },
    });
    context.save = () => this.#stack.push({ ...pen() });
    context.restore = () => {
      this.#pen = this.#stack.pop() ?? pen();
    };
    context.translate = (x, y) => {
      pen().x += x;
      pen().y += y;
    };
    context.clearRect = () => {
      this.draws.length = 0; // the game clears the whole canvas, at the start of each frame
    };
    context.drawImage = (image, sx, sy, sw, sh, dx, dy, dw, dh) => {
      const x = dx + pen().x;
      const y = dy + pen().y;
      if (sw !== dw || sh !== dh || !Number.isInteger(x) || !Number.isInteger(y)) {
        throw new Error(`a draw that is not pixel for pixel: ${[sx, sy, sw, sh, x, y, dw, dh]}`);
      }
      this.draws.push({ sheet: this.#sheet(image), image, sx, sy, width: dw, height: dh, x, y, alpha: pen().alpha });
    };
  }

  // Darkness (255 - gray) and cover (alpha) of each pixel of a sprite sheet. All games share one copy.
  #sheet(image) {
    let sheet = this.#sheets.get(image);
    if (!sheet) {
      sheet = DinoDisplayList.decoded.get(image.src) ?? DinoDisplayList.#decode(image);
      DinoDisplayList.decoded.set(image.src, sheet);
      this.#sheets.set(image, sheet);
    }
    return sheet;
  }

  static decoded = new Map(); // by the image's address

  static #decode(image) {
    const { naturalWidth: width, naturalHeight: height } = image;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    // skip: number of consecutive pixels without cover from here on, up to the end of the sheet.
    const sheet = {
      width,
      dark: new Uint8Array(width * height),
      cover: new Uint8Array(width * height),
      skip: new Uint16Array(width * height + 1),
    };
    for (let i = width * height - 1; i >= 0; i--) {
      sheet.dark[i] = DinoAgentFrame.darkness(data, 4 * i);
      sheet.cover[i] = data[4 * i + 3];
      sheet.skip[i] = sheet.cover[i] ? 0 : Math.min(65535, sheet.skip[i + 1] + 1);
    }
    return sheet;
  }

  // Paints the list on the real canvas.
  paint() {
    const context = this.#context;
    const real = CanvasRenderingContext2D.prototype;
    const alpha = Object.getOwnPropertyDescriptor(real, "globalAlpha").set;
    real.clearRect.call(context, 0, 0, context.canvas.width, context.canvas.height);
    for (const { image, sx, sy, width, height, x, y, alpha: opacity } of this.draws) {
      alpha.call(context, opacity);
      real.drawImage.call(context, image, sx, sy, width, height, x, y, width, height);
    }
  }
};
