// CRC-32 as zlib and PNG have it. The browser's own digests are there on encrypted pages only; this one always is.

const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  tables[0][byte] = value;
}
for (let byte = 0; byte < 256; byte++) {
  for (let n = 1; n < 8; n++) tables[n][byte] = (tables[n - 1][byte] >>> 8) ^ tables[0][tables[n - 1][byte] & 255];
}

/** Of `bytes`, going on from the CRC of what stands before them. Eight bytes a step. @param {Uint8Array} bytes */
export function crc32(bytes, before = 0) {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
  let crc = ~before;
  let place = 0;
  for (const end = bytes.length - 7; place < end; place += 8) {
    crc ^= bytes[place] | (bytes[place + 1] << 8) | (bytes[place + 2] << 16) | (bytes[place + 3] << 24);
    crc =
      t7[crc & 255] ^ t6[(crc >>> 8) & 255] ^ t5[(crc >>> 16) & 255] ^ t4[crc >>> 24] ^
      t3[bytes[place + 4]] ^ t2[bytes[place + 5]] ^ t1[bytes[place + 6]] ^ t0[bytes[place + 7]];
  }
  for (; place < bytes.length; place++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[place]) & 255];
  return ~crc >>> 0;
}

/** As the server writes it. @param {number} crc */
export const written = (crc) => `crc32 ${crc.toString(16).padStart(8, "0")}`;
