// Hot path. The UDP header (RFC 768).

export const UDP = {
  sourcePort: 0,
  destinationPort: 2,
  length: 4,
  /** Zero: the sender computed none. */
  checksum: 6,
  headerLength: 8,
} as const;
