// Encoded pictures to bitmaps.

/** Decode a JPEG or PNG file, upright as it is stored, and not larger than the canvas shows it. */
export function decode(bytes, canvas) {
  const [type, size] = bytes[0] === 0x89 ? ["image/png", pngSize(bytes)] : ["image/jpeg", readJpeg(bytes)];
  const options = {};
  if (canvas && size) { // scaled while it is decoded, off the page's own thread
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const scale = Math.min((canvas.clientWidth * ratio) / size[0], (canvas.clientHeight * ratio) / size[1]);
    if (scale > 0 && scale < 0.9) {
      options.resizeWidth = Math.max(1, Math.round(scale * size[0]));
      options.resizeHeight = Math.max(1, Math.round(scale * size[1]));
      options.resizeQuality = "medium";
    }
  }
  return createImageBitmap(new Blob([bytes], { type }), options);
}

function pngSize(bytes) {
  if (bytes.length < 24) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return [view.getUint32(16), view.getUint32(20)];
}

/** Width and height; and keep the browser from turning the picture as Exif says: boxes are those of what is stored. */
function readJpeg(bytes) {
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return [bytes[at + 7] * 256 + bytes[at + 8], bytes[at + 5] * 256 + bytes[at + 6]];
    }
    if (marker === 0xe1) bytes[at + 1] = 0xfe; // to a comment
    at += 2 + bytes[at + 2] * 256 + bytes[at + 3];
  }
  return null;
}
