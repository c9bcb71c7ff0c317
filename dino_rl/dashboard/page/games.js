// Pictures: the games, the frames that the network sees, and the saliency map.

const HEAT = [226, 98, 20]; // orange

// Paints pixels of one gray value each, uint8 [height, width], on a canvas of that size.
export function paintGray(canvas, pixels, width, height) {
  const context = sized(canvas, width, height);
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data[4 * i] = image.data[4 * i + 1] = image.data[4 * i + 2] = pixels[i];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// A frame with a map over it, both uint8 [height, width].
export function paintMap(canvas, pixels, map, width, height) {
  const context = sized(canvas, width, height);
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const share = map ? 0.85 * (map[i] / 255) : 0;
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels[i] * (1 - share) + HEAT[c] * share;
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function sized(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return canvas.getContext("2d");
}

// The sprites of all games in a message, painted on canvases of any size.
export class Sprites {
  #sheets = [];

  constructor([width, height]) {
    this.size = { width, height };
  }

  // sheets: data URLs of images.
  load(sheets) {
    this.#sheets = sheets.map((address) => Object.assign(new Image(), { src: address }));
  }

  // Where the draws of each game begin: numbers is int16, as game/arena.js writes it.
  static starts(numbers) {
    const starts = [];
    for (let at = 0; at < numbers.length; at += 1 + 8 * numbers[at]) starts.push(at);
    return starts;
  }

  paint(canvas, numbers, start, scale) {
    const { width, height } = this.size;
    const context = sized(canvas, Math.round(width * scale), Math.round(height * scale));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    for (let i = 0, at = start + 1; i < numbers[start]; i++, at += 8) {
      const [sheet, sx, sy, w, h, x, y, opacity] = numbers.subarray(at, at + 8);
      const image = this.#sheets[sheet];
      if (!image?.complete) continue;
      context.globalAlpha = opacity / 100;
      context.drawImage(image, sx, sy, w, h, x, y, w, h);
    }
  }
}

// A picture in a file, painted when it is decoded.
export async function paintFile(canvas, bytes) {
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const context = sized(canvas, bitmap.width, bitmap.height);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
}
