// Channel numbers (RFC 8656 §12): the range shared by the CHANNEL-NUMBER attribute and the ChannelData header.

// Specification
export const CHANNEL_MIN = 0x4000; // RFC 8656 §12
export const CHANNEL_MAX = 0x4fff; // RFC 8656 §12
