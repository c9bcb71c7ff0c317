// The picture that an agent sees: the game's canvas as 80x80 greyscale bytes.
//
// Canvas rows 24-150 at full width, composited on white, averaged over area.
//   rows:        the score digits stand in rows 10-22; an agent must not read its reward, so they stay out.
//   white:       the game draws on a transparent canvas; without a background it would come out black.
//   area mean:   every canvas pixel counts by the share of the picture's pixel that it covers, so that a
//                one-pixel move of a cactus still changes the picture. (Sampling would skip pixels.)
// dino_rl/browser/frames.py computes the same from a PNG with Pillow and OpenCV; tests compare the two.
"use strict";

window.DinoPicture = class DinoPicture {
  static SIZE = 80;
  static BYTES = DinoPicture.SIZE * DinoPicture.SIZE;
  static TOP = 24;

  constructor(width, height) {
    this.width = width;
    this.rows = height - DinoPicture.TOP;
    this.dark = new Uint8Array(width * this.rows); // 255 minus grey of each canvas pixel
    this.left = new Int32Array(this.rows); // where each row of `dark` may be other than zero: from here
    this.right = new Int32Array(this.rows); // ... to before here
    this.columns = DinoPicture.#shares(width);
    this.lines = DinoPicture.#shares(this.rows);
    this.total = width * this.rows;
    this.line = new Int32Array(DinoPicture.SIZE + 1);
    this.sums = new Int32Array(DinoPicture.SIZE);
  }

  // For each source pixel: the picture's pixel in which it starts, and how much of it falls there,
  // in units of 1/SIZE source pixel. Whole numbers keep the sums exact.
  static #shares(length) {
    const size = DinoPicture.SIZE;
    const target = new Int32Array(length);
    const share = new Int32Array(length);
    for (let i = 0; i < length; i++) {
      target[i] = Math.floor((i * size) / length);
      share[i] = Math.min(size, (target[i] + 1) * length - i * size);
    }
    return { target, share };
  }

  // 255 minus the luma (ITU-R BT.601, as OpenCV and Pillow weigh it) of the RGBA pixel at `i`.
  static darkness(data, i) {
    return 255 - ((data[i] * 4899 + data[i + 1] * 9617 + data[i + 2] * 1868 + 8192) >> 14);
  }

  clear() {
    for (let y = 0; y < this.rows; y++) {
      if (this.right[y] > this.left[y]) {
        this.dark.fill(0, y * this.width + this.left[y], y * this.width + this.right[y]);
      }
      this.left[y] = this.width;
      this.right[y] = 0;
    }
  }

  // The picture as read back from the canvas: slow, and always right.
  fromCanvas(canvas, out, offset) {
    const { width, rows, dark } = this;
    // An opaque canvas in main memory: read-back needs neither a trip to a GPU nor a division by alpha.
    this.scratch ??= new OffscreenCanvas(width, rows)
      .getContext("2d", { alpha: false, willReadFrequently: true });
    this.scratch.fillStyle = "#fff";
    this.scratch.fillRect(0, 0, width, rows);
    this.scratch.drawImage(canvas, 0, -DinoPicture.TOP);
    const { data } = this.scratch.getImageData(0, 0, width, rows);
    for (let i = 0; i < dark.length; i++) dark[i] = DinoPicture.darkness(data, 4 * i);
    this.left.fill(0);
    this.right.fill(width);
    this.#reduce(out, offset);
  }

  // The picture of a list of draws (see display_list.js), without a canvas.
  fromDraws(draws, out, offset) {
    this.clear();
    for (const draw of draws) this.#blit(draw);
    this.#reduce(out, offset);
  }

  #blit({ sheet, sx, sy, width, height, x, y, alpha }) {
    const top = y - DinoPicture.TOP;
    const from = Math.max(0, -x);
    const to = Math.min(width, this.width - x);
    if (from >= to) return;
    const { dark } = this;
    const opaque = alpha === 1;
    for (let row = Math.max(0, -top); row < height && top + row < this.rows; row++) {
      const line = top + row;
      let source = (sy + row) * sheet.width + sx + from;
      let target = line * this.width + x + from;
      for (let i = from; i < to; i++, source++, target++) {
        const cover = sheet.alpha[source];
        if (cover === 0) continue;
        if (opaque && cover === 255) {
          dark[target] = sheet.dark[source];
        } else {
          const share = (cover / 255) * alpha;
          dark[target] = Math.round(sheet.dark[source] * share + dark[target] * (1 - share));
        }
      }
      if (x + from < this.left[line]) this.left[line] = x + from;
      if (x + to > this.right[line]) this.right[line] = x + to;
    }
  }

  #reduce(out, offset) {
    const { width, rows, dark, columns, lines, line, sums, total } = this;
    const size = DinoPicture.SIZE;
    sums.fill(0);
    for (let y = 0; y < rows; y++) {
      const empty = this.right[y] <= this.left[y];
      if (!empty) {
        line.fill(0);
        const start = y * width;
        for (let x = this.left[y]; x < this.right[y]; x++) {
          const value = dark[start + x];
          if (value === 0) continue;
          const column = columns.target[x];
          const share = columns.share[x];
          line[column] += value * share;
          line[column + 1] += value * (size - share);
        }
      }
      const target = lines.target[y];
      const share = lines.share[y];
      if (!empty) for (let x = 0; x < size; x++) sums[x] += line[x] * share;
      if (y === rows - 1 || share < size || lines.target[y + 1] !== target) {
        const start = offset + target * size;
        const rest = empty ? 0 : size - share;
        for (let x = 0; x < size; x++) {
          out[start + x] = 255 - Math.round(sums[x] / total);
          sums[x] = rest ? line[x] * rest : 0;
        }
      }
    }
  }
};
