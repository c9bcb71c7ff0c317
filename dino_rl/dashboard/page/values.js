// The values of the actions as bars over time: one row for each action, one bar for each picture.

const KEPT = 60;
const MANY = 5; // actions, from which on rows are low

export class Values {
  #rows = [];
  #history = []; // {values, action}
  #game = null;

  constructor(box, actions) {
    box.classList.toggle("many", actions.length > MANY);
    this.#rows = actions.map((name) => {
      const row = document.createElement("div");
      row.className = "bar";
      row.innerHTML = "<div class=\"bar-head\"><span></span><span></span></div><canvas role=\"img\"></canvas>";
      const [head, canvas] = row.children;
      head.children[0].textContent = name;
      head.children[1].textContent = "\u2013";
      canvas.setAttribute("aria-label", `Values of ${name} over time`);
      box.append(row);
      return { name: head.children[0], value: head.children[1], canvas };
    });
  }

  show({ game, values, action }) {
    if (!values) return;
    if (game !== this.#game) this.#history = [];
    this.#game = game;
    this.#history.push({ values, action });
    if (this.#history.length > KEPT) this.#history.shift();
    this.#rows.forEach(({ name, value }, i) => {
      value.textContent = values[i] === null ? "\u2013" : values[i].toFixed(3);
      name.className = value.className = i === action ? "chosen" : "";
    });
    this.paint();
  }

  paint() {
    const all = this.#history.flatMap(({ values }) => values).filter((value) => value !== null);
    if (!all.length) return;
    const low = Math.min(...all);
    const spread = Math.max(...all) - low || 1;
    const style = getComputedStyle(document.documentElement);
    const [chosen, other] = ["--accent", "--bar"].map((name) => style.getPropertyValue(name));
    const density = window.devicePixelRatio || 1;
    this.#rows.forEach(({ canvas }, i) => {
      const [width, height] = [canvas.clientWidth * density, canvas.clientHeight * density].map(Math.round);
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, width, height);
      const step = width / KEPT;
      this.#history.forEach(({ values, action }, at) => {
        if (values[i] === null) return;
        const tall = (0.08 + 0.92 * ((values[i] - low) / spread)) * height;
        context.fillStyle = action === i ? chosen : other;
        context.fillRect((KEPT - this.#history.length + at) * step, height - tall, step - density, tall);
      });
    });
  }
}
