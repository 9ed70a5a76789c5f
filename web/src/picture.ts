import { t } from "./i18n";
// Profile pictures: checked, and scaled down when large, because every user loads them.

/** Types that the server accepts, for the file dialog. */
export const PICTURE_TYPES = "image/png,image/jpeg,image/gif,image/webp";

/** Shown at 88 px at most, on screens with up to three device pixels per px. */
const SIDE_PX = 320;
/** Files up to this size stay unchanged, which keeps a GIF animated. */
const SMALL_BYTES = 200 * 1024;

/**
 * @returns the file, or a small square from its centre
 * @throws {Error} with a message for the user
 */
export async function portrait(file: File): Promise<File> {
  if (!PICTURE_TYPES.split(",").includes(file.type))
    throw new Error(t("A picture must be a PNG, JPEG, GIF or WebP file."));
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) throw new Error(t("“{name}” cannot be read as a picture.", { name: file.name }));
  const { width, height } = picture;
  if (file.size <= SMALL_BYTES) return file;
  const side = Math.min(width, height);
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE_PX, height: SIDE_PX });
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE_PX, SIDE_PX);
  picture.close();
  // A browser that cannot write WebP makes a PNG and sets its type.
  const blob = await new Promise((done: (made: Blob | null) => void) => canvas.toBlob(done, "image/webp", 0.9));
  if (!blob) throw new Error(t("“{name}” cannot be made smaller.", { name: file.name }));
  return new File([blob], `picture.${blob.type.split("/")[1]}`, { type: blob.type });
}
