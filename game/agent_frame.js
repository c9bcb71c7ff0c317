// What an agent observes: the game's canvas as an 80x80 grayscale frame. `DinoAgentFrame`.
//
// Canvas rows 24-150 at full width, composited on white, averaged over area.
//   rows:        the score digits are in rows 10-22; an agent must not read its reward.
//   white:       the game draws on a transparent canvas, which would become black without a background.
//   area mean:   each canvas pixel is weighted by the share of a frame pixel that it covers, so a cactus that
//                moves by one pixel changes the frame. (Sampling would skip pixels.)
// dino_rl/browser/frames.py computes the same from a PNG with Pillow and OpenCV; tests compare the two.
"use strict";

window.DinoAgentFrame = class DinoAgentFrame {
  static SIZE = 80;
  static BYTES = DinoAgentFrame.SIZE * DinoAgentFrame.SIZE;
  static TOP = 24;
  static #WHITE = 0xffffffff; // a pixel of RGBA bytes, as one number

  constructor(width, height) {
    this.width = width;
    this.rows = height - DinoAgentFrame.TOP;
    this.columns = DinoAgentFrame.#shares(width);
    this.lines = DinoAgentFrame.#shares(this.rows);
    this.total = width * this.rows;
    this.stamp = 1;
    // Of each canvas pixel: darkness (255 minus gray) in the low 8 bits, and above them the stamp of the frame
    // in which it was last drawn. An older stamp means white, so nothing is cleared between two frames.
    this.canvas = new Uint32Array(width * this.rows);
    this.line = new Int32Array(DinoAgentFrame.SIZE + 1); // darkness of one canvas row, in columns of the frame
    this.sums = new Int32Array((DinoAgentFrame.SIZE + 1) * DinoAgentFrame.SIZE);
  }

  // For each source pixel: the frame pixel in which it starts, and how much of it is in there, in units of
  // 1/SIZE source pixel. Integers keep the sums exact.
  static #shares(length) {
    const size = DinoAgentFrame.SIZE;
    const target = new Int32Array(length);
    const share = new Int32Array(length);
    for (let i = 0; i < length; i++) {
      target[i] = Math.floor((i * size) / length);
      share[i] = Math.min(size, (target[i] + 1) * length - i * size);
    }
    return { target, share };
  }

  // 255 minus the luma (ITU-R BT.601, with the weights of OpenCV and Pillow) of the RGBA pixel at `i`.
  static darkness(data, i) {
    return 255 - ((data[i] * 4899 + data[i + 1] * 9617 + data[i + 2] * 1868 + 8192) >> 14);
  }

  // The frame as read back from the canvas: slow, and the reference for `fromDraws`.
  fromCanvas(canvas, out, offset) {
    const { width, rows, columns } = this;
    // An opaque canvas in main memory: reading it needs no transfer from a GPU and no division by alpha.
    this.scratch ??= new OffscreenCanvas(width, rows)
      .getContext("2d", { alpha: false, willReadFrequently: true });
    this.scratch.fillStyle = "#fff";
    this.scratch.fillRect(0, 0, width, rows);
    this.scratch.drawImage(canvas, 0, -DinoAgentFrame.TOP);
    const { data } = this.scratch.getImageData(0, 0, width, rows);
    const pixels = new Uint32Array(data.buffer);
    for (let y = 0, i = 0; y < rows; y++) {
      let first = width;
      let last = -1;
      for (let x = 0; x < width; x++, i++) {
        if (pixels[i] === DinoAgentFrame.#WHITE) continue; // most are
        this.#add(x, DinoAgentFrame.darkness(data, 4 * i));
        first = Math.min(first, x);
        last = x;
      }
      if (last >= 0) this.#addLine(y, columns.target[first], columns.target[last]);
    }
    this.#finish(out, offset);
  }

  // The frame of a list of draws (see display_list.js), without a canvas: only the pixels that a sprite covers
  // are visited, and they are added to the means directly.
  fromDraws(draws, out, offset) {
    for (let i = 0; i < draws.length; i++) this.#blit(draws[i]);
    this.#finish(out, offset);
    this.stamp = (this.stamp + 1) % (1 << 24);
    if (this.stamp === 0) {
      this.canvas.fill(0);
      this.stamp = 1;
    }
  }

  #blit({ sheet, sx, sy, width, height, x, y, alpha }) {
    const top = y - DinoAgentFrame.TOP;
    const from = Math.max(0, -x);
    const to = Math.min(width, this.width - x);
    const last = Math.min(height, this.rows - top);
    if (from >= to) return;
    const { canvas, columns } = this;
    const { dark, cover, skip } = sheet;
    const stamp = this.stamp * 256; // not <<, whose result has a sign
    const first = columns.target[x + from];
    const end = columns.target[x + to - 1];
    for (let row = Math.max(0, -top); row < last; row++) {
      const source = (sy + row) * sheet.width + sx;
      const target = (top + row) * this.width + x;
      for (let i = from + skip[source + from]; i < to; i += 1 + skip[source + i + 1]) {
        const before = canvas[target + i] - stamp;
        const under = before >= 0 && before < 256 ? before : 0;
        const share = (cover[source + i] / 255) * alpha;
        const now = share === 1
          ? dark[source + i]
          : Math.round(dark[source + i] * share + under * (1 - share));
        canvas[target + i] = stamp + now;
        this.#add(x + i, now - under);
      }
      this.#addLine(top + row, first, end);
    }
  }

  // Adds to the darkness of one canvas row at column `x`.
  #add(x, darkness) {
    const column = this.columns.target[x];
    const share = this.columns.share[x];
    this.line[column] += darkness * share;
    this.line[column + 1] += darkness * (DinoAgentFrame.SIZE - share);
  }

  // Adds the columns `first` to `last` of the current row to the frame, and clears the row.
  #addLine(y, first, last) {
    const { line, sums, lines } = this;
    const size = DinoAgentFrame.SIZE;
    const share = lines.share[y];
    const start = lines.target[y] * size;
    for (let x = first; x <= last; x++) {
      sums[start + x] += line[x] * share;
      sums[start + size + x] += line[x] * (size - share);
      line[x] = 0;
    }
    if (last + 1 < size) {
      sums[start + last + 1] += line[last + 1] * share;
      sums[start + size + last + 1] += line[last + 1] * (size - share);
    }
    line[last + 1] = 0;
  }

  #finish(out, offset) {
    const { sums, total } = this;
    for (let i = 0; i < DinoAgentFrame.BYTES; i++) {
      out[offset + i] = sums[i] === 0 ? 255 : 255 - Math.round(sums[i] / total);
    }
    sums.fill(0);
  }
};
