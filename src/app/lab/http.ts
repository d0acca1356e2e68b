// HTTP from the client's namespace, by curl, as a user of the lab would do it.

import { expect } from './expectations.ts';
import type { Lab } from './lab.ts';

export interface CurlOptions {
  readonly timeoutMs?: number;
  readonly args?: readonly string[];
}

export interface CurlResult {
  /** 0, or curl's exit code: 7 refused or prohibited, 28 timed out, 6 not resolved. */
  readonly exitCode: number;
  readonly status: number;
  readonly body: string;
  readonly bytes: number;
  readonly milliseconds: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;

export async function curl(lab: Lab, url: string, options: CurlOptions = {}): Promise<CurlResult> {
  const seconds = (options.timeoutMs ?? DEFAULT_TIMEOUT_MS) / 1_000;
  const startedAt = performance.now();
  const { code, stdout } = await lab.exec('client', [
    'curl',
    '--silent',
    '--globoff',
    '--max-time',
    String(seconds),
    '--write-out',
    '\n%{http_code} %{size_download}',
    ...(options.args ?? []),
    url,
  ]);
  const cut = stdout.lastIndexOf('\n');
  const [status = 0, bytes = 0] = stdout
    .slice(cut + 1)
    .split(' ')
    .map(Number);
  return {
    exitCode: code,
    status,
    bytes,
    body: stdout.slice(0, Math.max(0, cut)),
    milliseconds: Math.round(performance.now() - startedAt),
  };
}

/** A page that must come; returns how long it took. */
export async function fetchOk(
  lab: Lab,
  url: string,
  options: CurlOptions = {},
): Promise<CurlResult> {
  const result = await curl(lab, url, options);
  expect(
    result.exitCode === 0,
    `${url}: curl failed with ${result.exitCode} after ${result.milliseconds} ms`,
  );
  expect(result.status === 200, `${url}: HTTP ${result.status}`);
  return result;
}

export async function isReachable(lab: Lab, url: string, timeoutMs = 1_500): Promise<boolean> {
  const { exitCode, status } = await curl(lab, url, { timeoutMs });
  return exitCode === 0 && status === 200;
}

/** SHA-256 of a download and how many bytes it had. */
export async function downloadDigest(
  lab: Lab,
  url: string,
  timeoutMs: number,
): Promise<{ readonly digest: string; readonly seconds: number }> {
  const startedAt = performance.now();
  const script = `set -o pipefail; curl --silent --globoff --fail --max-time ${timeoutMs / 1_000} '${url}' | sha256sum`;
  const { code, stdout } = await lab.exec('client', ['bash', '-c', script]);
  expect(code === 0, `${url}: the download failed with ${code}`);
  return { digest: stdout.split(' ')[0] ?? '', seconds: (performance.now() - startedAt) / 1_000 };
}
