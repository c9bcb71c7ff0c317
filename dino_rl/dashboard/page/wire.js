// The connection to the run: messages in, requests out, again after every break.

const RETRY_MS = [500, 1000, 2000, 5000];

// {header, blobs: {name: Uint8Array}} of a message; dino_rl/dashboard/viewer.py describes its layout.
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const blobs = {};
  for (const [name, [at, size]] of Object.entries(header.blobs)) {
    blobs[name] = new Uint8Array(buffer, 4 + length + at, size);
  }
  return { header, blobs };
}

export class Connection {
  #socket = null;
  #failures = 0;
  #ended = false;

  // onMessage({header, blobs}); onState("live" or "lost"); greet() -> requests to send whenever a connection opens.
  constructor({ onMessage, onState, greet }) {
    Object.assign(this, { onMessage, onState, greet });
    this.#open();
  }

  #open() {
    const socket = new WebSocket(`ws://${location.host}${location.pathname}socket`);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#failures = 0;
      this.onState("live");
      this.greet().forEach((request) => this.send(request));
    };
    socket.onmessage = ({ data }) => this.onMessage(unpacked(data));
    socket.onclose = () => {
      if (this.#ended) return;
      this.onState("lost");
      const wait = RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)];
      setTimeout(() => this.#open(), wait);
    };
  }

  send(request) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(request));
  }

  // The run is over: a closed connection stays closed.
  end() {
    this.#ended = true;
  }
}
