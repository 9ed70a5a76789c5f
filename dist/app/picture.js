// Pictures of people: checked, and made small where they are large, for everybody loads them.

/** What the server takes, and a file dialog offers. */
export const PICTURE_TYPES = "image/png,image/jpeg,image/gif,image/webp";

/** Shown at 88 pixels at most; screens have up to three for one. */
const SIDE_PX = 320;
/** Up to here a file stays as it is, and a GIF goes on moving. */
const SMALL_BYTES = 200 * 1024;

/**
 * @param {File} file
 * @returns {Promise<File>} it, or a small square from its middle
 * @throws {Error} with a sentence for people
 */
export async function portrait(file) {
  if (!PICTURE_TYPES.split(",").includes(file.type)) throw new Error("A picture must be a PNG, JPEG, GIF or WebP file.");
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) throw new Error(`“${file.name}” cannot be read as a picture.`);
  const { width, height } = picture;
  if (file.size <= SMALL_BYTES) return file;
  const side = Math.min(width, height);
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE_PX, height: SIDE_PX });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE_PX, SIDE_PX);
  picture.close();
  // Where WebP cannot be written, this makes a PNG and says so in its type.
  const blob = await new Promise((/** @type {(made: Blob | null) => void} */ done) => canvas.toBlob(done, "image/webp", 0.9));
  if (!blob) throw new Error(`“${file.name}” cannot be made smaller.`);
  return new File([blob], `picture.${blob.type.split("/")[1]}`, { type: blob.type });
}
