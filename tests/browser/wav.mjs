// Generates sounds for tests.

/** A tone. @param {number} seconds */
export function wav(seconds) {
  const rate = 8_000;
  const samples = rate * seconds;
  const sound = Buffer.alloc(44 + samples, 128);
  sound.write("RIFF", 0);
  sound.writeUInt32LE(36 + samples, 4);
  sound.write("WAVEfmt ", 8);
  sound.writeUInt32LE(16, 16);
  // PCM, one channel.
  sound.writeUInt16LE(1, 20);
  sound.writeUInt16LE(1, 22);
  sound.writeUInt32LE(rate, 24);
  sound.writeUInt32LE(rate, 28);
  sound.writeUInt16LE(1, 32);
  sound.writeUInt16LE(8, 34);
  sound.write("data", 36);
  sound.writeUInt32LE(samples, 40);
  for (let at = 0; at < samples; at++) sound[44 + at] = 128 + Math.round(60 * Math.sin((at * 440 * 2 * Math.PI) / rate));
  return sound;
}
