// A panel for a person who watches: what the network sees, its value for each action, and the chosen action.
//
// The panel is an element of its own. The game's canvas, from which the agent's frame is computed, is not changed.
"use strict";

window.DinoSpectator = class DinoSpectator {
  static ACTIONS = ["nothing", "jump", "duck"];
  static SCALE = 3;

  constructor() {
    const size = DinoAgentFrame.SIZE;
    this.panel = document.createElement("div");
    this.panel.style.cssText = "position:fixed;right:12px;bottom:12px;z-index:1000;padding:10px 12px;"
      + "background:#fffffff0;border:1px solid #ccc;border-radius:8px;color:#333;text-align:left;"
      + "font:13px/1.5 system-ui,sans-serif;filter:none";
    this.panel.innerHTML = `<div>what the network sees</div>
      <canvas width="${size}" height="${size}" style="width:${size * DinoSpectator.SCALE}px;
        height:${size * DinoSpectator.SCALE}px;image-rendering:pixelated;border:1px solid #ddd"></canvas>
      <div class="dino-title"></div><div class="dino-actions"></div>`;
    document.body.appendChild(this.panel);
    this.context = this.panel.querySelector("canvas").getContext("2d");
    this.image = this.context.createImageData(size, size);
    this.title = this.panel.querySelector(".dino-title");
    const list = this.panel.querySelector(".dino-actions");
    this.rows = DinoSpectator.ACTIONS.map((name) => {
      const row = document.createElement("div");
      row.style.cssText = "display:flex;gap:8px;align-items:center";
      row.innerHTML = `<span style="width:56px">${name}</span>
        <span style="flex:1;height:10px;background:#eee;border-radius:5px;overflow:hidden">
        <span style="display:block;height:100%;width:0"></span></span>
        <span style="width:52px;text-align:right;font-variant-numeric:tabular-nums"></span>`;
      list.appendChild(row);
      return { row, bar: row.children[1].firstElementChild, value: row.children[2] };
    });
  }

  // frame: Uint8Array of 80 x 80; values: one for each action, or null; action: index; title: one line.
  show({ frame, values, action, title }) {
    const { data } = this.image;
    for (let i = 0; i < frame.length; i++) {
      data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = frame[i];
      data[4 * i + 3] = 255;
    }
    this.context.putImageData(this.image, 0, 0);
    this.title.textContent = title;
    if (!values) return;
    const worst = Math.min(...values);
    const spread = Math.max(...values) - worst || 1;
    this.rows.forEach(({ row, bar, value }, i) => {
      row.style.display = i < values.length ? "flex" : "none";
      if (i >= values.length) return;
      row.style.fontWeight = i === action ? "bold" : "normal";
      bar.style.width = `${(100 * (values[i] - worst)) / spread}%`;
      bar.style.background = i === action ? "#2a7" : "#999";
      value.textContent = values[i].toFixed(3);
    });
  }
};
