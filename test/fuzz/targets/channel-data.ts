// ChannelData: the hot reader, the cold one, and the cold writer agree.

import { equalBytes, viewOf } from '../../../src/base/bytes.ts';
import {
  CHANNEL_DATA_HEADER_LENGTH,
  channelAt,
  channelPayloadLength,
  isChannelDataByte,
  parseChannelData,
  writeChannelData,
} from '../../../src/wire/turn/channel-data.ts';

export const name = 'channel-data';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  const length = channelPayloadLength(viewOf(bytes), 0, bytes.length);
  if (length >= 0 && length > bytes.length - CHANNEL_DATA_HEADER_LENGTH)
    throw new Error('more than there is');
  if (length >= 0 && !isChannelDataByte(bytes[0] ?? 0)) throw new Error('not of that class');
}

export function compare(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  const length = channelPayloadLength(view, 0, bytes.length);
  const cold = parseChannelData(bytes);
  const isExact = length >= 0 && length + CHANNEL_DATA_HEADER_LENGTH === bytes.length;
  if (isExact !== (cold !== undefined)) throw new Error('hot and cold reader disagree');
  if (!cold) return;
  if (cold.channel !== channelAt(view, 0)) throw new Error('another channel');
  if (!equalBytes(writeChannelData(cold.channel, cold.payload), bytes))
    throw new Error('ChannelData does not read as it was written');
}
