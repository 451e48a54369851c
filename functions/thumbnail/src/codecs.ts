/**
 * JPEG and PNG codecs and a scaler in WebAssembly. Their code is in the bundle as bytes, so nothing is fetched; each is
 * compiled when it is first needed, because most callers send one format only.
 */
import './image-data.ts';
import decodeJpeg, { init as initJpegDecoder } from '@jsquash/jpeg/decode.js';
import encodeJpeg, { init as initJpegEncoder } from '@jsquash/jpeg/encode.js';
import decodePng, { init as initPng } from '@jsquash/png/decode.js';
import scale, { initResize } from '@jsquash/resize';
import jpegDecoderBytes from '@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm';
import jpegEncoderBytes from '@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm';
// @ts-expect-error -- the package declares the exports of the instance; the bundler gives bytes
import pngBytes from '@jsquash/png/codec/pkg/squoosh_png_bg.wasm';
// @ts-expect-error -- the package declares the exports of the instance; the bundler gives bytes
import scalerBytes from '@jsquash/resize/lib/resize/pkg/squoosh_resize_bg.wasm';

// The types of the package leave out the module that `init` takes.
type Init = (module: WebAssembly.Module) => Promise<unknown>;

/** Runs `start` once with the compiled module, however many calls wait for it. */
function once(bytes: Uint8Array<ArrayBuffer>, start: Init): () => Promise<unknown> {
  let ready: Promise<unknown> | undefined;
  return () => (ready ??= WebAssembly.compile(bytes).then(start));
}

const jpegDecoder = once(jpegDecoderBytes, initJpegDecoder as Init);
const jpegEncoder = once(jpegEncoderBytes, initJpegEncoder as Init);
const png = once(pngBytes, initPng);
const scaler = once(scalerBytes, initResize);

/** The pixels of a JPEG or PNG; undefined when the bytes are neither. */
export async function decode(bytes: ArrayBuffer): Promise<ImageData | undefined> {
  const [first, second] = new Uint8Array(bytes, 0, Math.min(2, bytes.byteLength));
  if (first === 0xff && second === 0xd8) {
    await jpegDecoder();
    return decodeJpeg(bytes);
  }
  if (first === 0x89 && second === 0x50) {
    await png();
    return decodePng(bytes);
  }
  return undefined;
}

export async function resize(image: ImageData, width: number, height: number): Promise<ImageData> {
  await scaler();
  return scale(image, { width, height, method: 'lanczos3' });
}

export async function toJpeg(image: ImageData, quality: number): Promise<ArrayBuffer> {
  await jpegEncoder();
  return encodeJpeg(image, { quality });
}
