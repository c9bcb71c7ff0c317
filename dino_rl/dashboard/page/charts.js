// Charts by Plotly, in the colours of the page.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const DEATHS = { "small cactus": "--accent", "large cactus": "--cool", bird: "--warm", other: "--bar" };

// Ticks at whole numbers.
const whole = (most) => (most < 6 ? { dtick: 1 } : {});

const column = (rows, name) => rows.map((row) => row[name] ?? null);

// One chart, drawn again at most twice a second, when it can be seen and something has changed.
class Chart {
  #due = false;
  #seen = false;

  constructor(id) {
    this.box = document.getElementById(id);
    this.legend = document.createElement("p");
    this.legend.className = "legend";
    this.box.before(this.legend);
    new IntersectionObserver(([entry]) => {
      this.#seen = entry.isIntersecting;
      if (this.#seen && this.#due) this.#draw();
    }, { rootMargin: "200px" }).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.change());
    addEventListener("load", () => this.change()); // Plotly comes after this module
  }

  change() {
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => this.#seen && this.#draw(), 500);
  }

  #draw() {
    if (!window.Plotly) return;
    this.#due = false;
    const { traces, x, y, ...more } = this.contents();
    this.#name(traces);
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"), automargin: true };
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--muted"), family: "system-ui, sans-serif", size: 12.5 },
      margin: { l: 44, r: 10, t: 8, b: 36 },
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--text") } },
      showlegend: false, // in a narrow chart, Plotly's own moves the axes
      xaxis: { ...axis, visible: traces.length > 0, ...x },
      yaxis: { ...axis, visible: traces.length > 0, rangemode: "tozero", ...y },
      annotations: traces.length ? [] : [{ text: this.waiting, showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }],
      ...more,
    };
    window.Plotly.react(this.box, traces, layout, { displayModeBar: false, responsive: true });
  }

  #name(traces) {
    this.legend.replaceChildren(...traces.filter(({ name }) => name).map(({ name, line, marker }) => {
      const entry = document.createElement("span");
      const patch = document.createElement("i");
      patch.style.background = line?.color ?? marker.color;
      entry.append(patch, name);
      return entry;
    }));
  }
}

export class LearningCurve extends Chart {
  waiting = "The first numbers come after some seconds.";
  rows = { intervals: [], validations: [], iterations: [] };
  logarithmic = false;

  constructor(id, { score, algorithm }) {
    super(id);
    Object.assign(this, { score, algorithm });
  }

  contents() {
    const { intervals, validations, iterations } = this.rows;
    const line = (rows, name, title, shade, more = {}) => ({
      x: column(rows, "minutes"), y: column(rows, name), name: title, mode: "lines",
      line: { color: colour(shade), width: 2 }, hovertemplate: "%{y:,.4~g}", ...more,
    });
    const traces = this.algorithm === "cem"
      ? [line(iterations, "mean", "mean of an iteration", "--cool"), line(iterations, "threshold", "elite threshold", "--bar")]
      : [line(intervals, "score_mean", "games with exploration", "--bar"), line(intervals, "greedy_score_mean", "greedy games", "--cool")];
    traces.push(line(validations, "mean", "validation", "--warm", { mode: "lines+markers", marker: { size: 9 } }));
    return {
      traces: traces.filter(({ y }) => y.some((value) => value !== null)),
      hovermode: "x unified",
      x: { title: { text: "minutes of training" }, rangemode: "tozero" },
      y: { title: { text: this.score }, type: this.logarithmic ? "log" : "linear" },
    };
  }
}

export class Rates extends Chart {
  waiting = "The first numbers come after some seconds.";
  rows = [];

  contents() {
    const line = {
      x: column(this.rows, "minutes"), y: column(this.rows, "steps_per_s"), mode: "lines",
      line: { color: colour("--accent"), width: 2 }, hovertemplate: "%{y:,.0f} steps per second<extra></extra>",
    };
    return {
      traces: this.rows.length ? [line] : [],
      hovermode: "x",
      x: { title: { text: "minutes of training" }, rangemode: "tozero" },
      y: { title: { text: "steps per second" } },
    };
  }
}

export class Ends extends Chart {
  waiting = "No game has ended yet.";
  ends = [];

  contents() {
    const kind = (obstacle) => Object.keys(DEATHS).find((name) => obstacle.includes(name)) ?? "other";
    const speeds = [...new Set(this.ends.map(({ speed }) => speed))].sort((a, b) => parseFloat(a) - parseFloat(b));
    const traces = Object.entries(DEATHS).map(([name, shade]) => ({
      type: "bar", name, x: speeds, marker: { color: colour(shade) }, hovertemplate: "%{y:,.0f} games",
      y: speeds.map((speed) => this.ends.reduce((sum, end) => (
        sum + (end.speed === speed && kind(end.obstacle) === name ? end.games : 0)), 0)),
    }));
    return {
      traces: traces.filter(({ y }) => y.some((count) => count)),
      barmode: "stack",
      hovermode: "x unified",
      x: { title: { text: "speed, pixels per frame" }, type: "category" },
      y: { title: { text: "games" }, ...whole(Math.max(...traces.flatMap(({ y }) => y))) },
    };
  }
}

export class Scores extends Chart {
  waiting = "No game has ended yet.";
  rows = [];

  contents() {
    const bars = {
      type: "bar", name: "", x: column(this.rows, "game"), y: column(this.rows, "score"), customdata: column(this.rows, "seed"),
      marker: { color: this.rows.map(({ capped }) => colour(capped ? "--accent" : "--cool")) },
      hovertemplate: "score %{y:,.4~g}, seed %{customdata}<extra></extra>",
    };
    const most = Math.max(10, this.rows.length);
    return { traces: this.rows.length ? [bars] : [], x: { title: { text: "game" }, range: [0.5, most + 0.5], ...whole(most / 3) }, y: { title: { text: "score" } } };
  }
}
