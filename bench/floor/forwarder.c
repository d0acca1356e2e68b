// The floor of what a user-space WireGuard data path costs on Linux: one thread, one peer, a fixed key, a TUN with segmentation
// offloads on one side, UDP with segmentation offloads on the other, ChaCha20-Poly1305 by OpenSSL in between. No handshake, no
// policy, no NAT. It puts a number beside which gateways are measured, in the same run. See README.md.
//
//   forwarder TUN LOCAL_PORT PEER_ADDR PEER_PORT
//
//   cc -O3 -march=native -o forwarder forwarder.c -lcrypto                   OpenSSL, one packet at a time
//   cc -O3 -march=native -DMB -o forwarder-mb forwarder.c -lIPSec_MB         Intel's multi-buffer library (Debian: libipsec-mb-dev)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#ifdef MB
#include <intel-ipsec-mb.h>
#else
#include <openssl/evp.h>
#endif
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#define DIE(m) do { perror(m); exit(1); } while (0)
enum { WG_HDR = 16, TAG = 16 };
static uint64_t counter;

static uint32_t sum16(const uint8_t *p, size_t n, uint32_t init) {
  uint64_t s = 0; size_t k = n / 4;
  for (size_t i = 0; i < k; i++) { uint32_t w; memcpy(&w, p + 4 * i, 4); s += w; }
  p += 4 * k; n -= 4 * k;
  if (n >= 2) { uint16_t w; memcpy(&w, p, 2); s += w; p += 2; n -= 2; }
  if (n) s += *p;
  s = (s & 0xffffffff) + (s >> 32); s = (s & 0xffffffff) + (s >> 32);
  s = (s & 0xffff) + (s >> 16); s = (s & 0xffff) + (s >> 16); s = (s & 0xffff) + (s >> 16);
  return (uint32_t)__builtin_bswap16((uint16_t)s) + init;
}
static uint16_t fold(uint32_t s) { while (s >> 16) s = (s & 0xffff) + (s >> 16); return s; }

static uint8_t key[32], ivs[512][12], tags[512][16];
static int nj;
// job(): seal or open n bytes in place, now or at finish(); the computed tag goes to `tag`.
#ifdef MB
static IMB_MGR *mb;
static void init_aead(void) { mb = alloc_mb_mgr(0); init_mb_mgr_auto(mb, NULL); }
static void job(uint8_t *p, size_t n, int seal, uint8_t *iv, uint8_t *tag) {
  IMB_JOB *j = IMB_GET_NEXT_JOB(mb);
  j->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305; j->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
  j->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT; j->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
  j->enc_keys = j->dec_keys = key; j->key_len_in_bytes = 32; j->src = p; j->dst = p;
  j->cipher_start_src_offset_in_bytes = 0; j->hash_start_src_offset_in_bytes = 0;
  j->msg_len_to_cipher_in_bytes = n; j->msg_len_to_hash_in_bytes = n; j->iv = iv; j->iv_len_in_bytes = 12;
  j->u.CHACHA20_POLY1305.aad = NULL; j->u.CHACHA20_POLY1305.aad_len_in_bytes = 0; j->auth_tag_output = tag; j->auth_tag_output_len_in_bytes = 16;
  IMB_SUBMIT_JOB_NOCHECK(mb);
}
static void finish(void) { while (IMB_FLUSH_JOB(mb)); }
#else
static EVP_CIPHER_CTX *enc, *dec;
static void init_aead(void) {
  enc = EVP_CIPHER_CTX_new(); dec = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(enc, EVP_chacha20_poly1305(), 0, key, 0); EVP_DecryptInit_ex(dec, EVP_chacha20_poly1305(), 0, key, 0);
}
static void job(uint8_t *p, size_t n, int seal, uint8_t *iv, uint8_t *tag) {
  int o;
  if (seal) {
    EVP_EncryptInit_ex(enc, 0, 0, 0, iv); EVP_EncryptUpdate(enc, p, &o, p, n); EVP_EncryptFinal_ex(enc, p + n, &o); EVP_CIPHER_CTX_ctrl(enc, EVP_CTRL_AEAD_GET_TAG, TAG, tag);
  } else {
    EVP_DecryptInit_ex(dec, 0, 0, 0, iv); EVP_CIPHER_CTX_ctrl(dec, EVP_CTRL_AEAD_SET_TAG, TAG, p + n);
    EVP_DecryptUpdate(dec, p, &o, p, n); memcpy(tag, p + n, TAG); if (EVP_DecryptFinal_ex(dec, p + n, &o) <= 0) tag[0] ^= 1;
  }
}
static void finish(void) {}
#endif
static size_t seal(uint8_t *out, size_t len) {
  size_t padded = (len + 15) & ~15ul;
  memset(out + WG_HDR + len, 0, padded - len);
  uint64_t c = counter++; uint8_t *iv = ivs[nj++ & 511]; memset(iv, 0, 4); memcpy(iv + 4, &c, 8);
  out[0] = 4; out[1] = out[2] = out[3] = 0; memset(out + 4, 0, 4); memcpy(out + 8, &c, 8);
  job(out + WG_HDR, padded, 1, iv, out + WG_HDR + padded);
  return WG_HDR + padded + TAG;
}
static uint8_t tunbuf[10 + 65536 + 64], udpout[70000], udpin[16][65536];
static int tunfd, udpfd; static long bad;
static struct sockaddr_in peer;

static void send_batch(size_t total, size_t seg) {
  if (!total) return;
  finish();
  struct iovec iov = {udpout, total};
  char cbuf[CMSG_SPACE(2)] = {0};
  struct msghdr m = {.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &iov, .msg_iovlen = 1};
  if (total > seg) {
    m.msg_control = cbuf; m.msg_controllen = sizeof cbuf;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_UDP; c->cmsg_type = UDP_SEGMENT; c->cmsg_len = CMSG_LEN(2);
    *(uint16_t *)CMSG_DATA(c) = seg;
  }
  while (sendmsg(udpfd, &m, 0) < 0) { if (errno == EAGAIN || errno == ENOBUFS) { struct pollfd p = {udpfd, POLLOUT, 0}; poll(&p, 1, 10); continue; } perror("sendmsg"); break; }
}

static void from_tun(ssize_t n) {
  struct virtio_net_hdr *h = (void *)tunbuf;
  uint8_t *ip = tunbuf + 10; size_t len = n - 10;
  int v6 = ip[0] >> 4 == 6; size_t l3 = v6 ? 40 : (ip[0] & 15) * 4;
  uint8_t proto = v6 ? ip[6] : ip[9];
  if ((h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_NONE) {
    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
      uint32_t s = sum16(ip + h->csum_start, len - h->csum_start, 0);
      uint16_t c = ~fold(s); ip[h->csum_start + h->csum_offset] = c >> 8; ip[h->csum_start + h->csum_offset + 1] = c;
    }
    memcpy(udpout + WG_HDR, ip, len);
    send_batch(seal(udpout, len), 65535);
    return;
  }
  if (proto != 6) { // UDP_L4
    size_t hl = l3 + 8, off = hl, seg = h->gso_size, total = 0, first = 0;
    while (off < len) {
      size_t p = len - off < seg ? len - off : seg; uint8_t *o = udpout + total + WG_HDR;
      memcpy(o, ip, hl); memcpy(o + hl, ip + off, p);
      uint16_t ul = 8 + p; o[l3 + 4] = ul >> 8; o[l3 + 5] = ul;
      if (!v6) { uint16_t tl = hl + p; o[2] = tl >> 8; o[3] = tl; o[10] = o[11] = 0; uint16_t c = ~fold(sum16(o, l3, 0)); o[10] = c >> 8; o[11] = c; }
      o[l3 + 6] = o[l3 + 7] = 0;
      uint32_t s = v6 ? sum16(o + 8, 32, 0) : sum16(o + 12, 8, 0);
      s += 17 + ul; uint16_t c = ~fold(sum16(o + l3, ul, s)); o[l3 + 6] = c >> 8; o[l3 + 7] = c;
      size_t sl = seal(udpout + total, hl + p); if (!first) first = sl;
      total += sl; off += p;
      if (total + first > 65000 || sl != first) { send_batch(total, first); total = 0; first = 0; }
    }
    send_batch(total, first);
    return;
  }
  size_t hl = l3 + (ip[l3 + 12] >> 4) * 4, off = hl, seg = h->gso_size, total = 0, first = 0; uint32_t seq; memcpy(&seq, ip + l3 + 4, 4); seq = ntohl(seq);
  uint16_t id = (ip[4] << 8) | ip[5]; int i = 0;
  while (off < len) {
    size_t p = len - off < seg ? len - off : seg; uint8_t *o = udpout + total + WG_HDR;
    memcpy(o, ip, hl); memcpy(o + hl, ip + off, p);
    uint32_t q = htonl(seq + (uint32_t)(off - hl)); memcpy(o + l3 + 4, &q, 4);
    if (off + p < len) o[l3 + 13] &= ~(0x01 | 0x08);
    uint16_t tl = v6 ? hl + p - 40 : hl + p;
    if (v6) { o[4] = tl >> 8; o[5] = tl; }
    else { o[2] = tl >> 8; o[3] = tl; uint16_t d = id + i; o[4] = d >> 8; o[5] = d; o[10] = o[11] = 0; uint16_t c = ~fold(sum16(o, l3, 0)); o[10] = c >> 8; o[11] = c; }
    o[l3 + 16] = o[l3 + 17] = 0;
    uint32_t s = v6 ? sum16(o + 8, 32, 0) : sum16(o + 12, 8, 0);
    s += 6 + (hl - l3 + p); uint16_t c = ~fold(sum16(o + l3, hl - l3 + p, s)); o[l3 + 16] = c >> 8; o[l3 + 17] = c;
    size_t sl = seal(udpout + total, hl + p); if (!first) first = sl;
    total += sl; off += p; i++;
    if (total + first > 65000 || sl != first) { send_batch(total, first); total = 0; first = 0; }
  }
  send_batch(total, first);
}

// One pending run of TCP segments of one flow, gathered by reference and written as one super-packet.
static struct { struct iovec v[1 + 64]; int n; uint8_t *head; size_t hl, l3, bytes, seg; uint32_t next; int v6, closed; struct virtio_net_hdr h; } run;
static void flush_run(void) {
  if (!run.n) return;
  uint8_t *ip = run.head; size_t total = run.hl + run.bytes, l4 = run.hl - run.l3 + run.bytes;
  memset(&run.h, 0, sizeof run.h);
  if (run.n > 2) {
    if (run.v6) { uint16_t t = total - 40; ip[4] = t >> 8; ip[5] = t; }
    else { ip[2] = total >> 8; ip[3] = total; ip[10] = ip[11] = 0; uint16_t c = ~fold(sum16(ip, run.l3, 0)); ip[10] = c >> 8; ip[11] = c; }
    uint32_t s = (run.v6 ? sum16(ip + 8, 32, 0) : sum16(ip + 12, 8, 0)) + 6 + l4; uint16_t c = fold(s);
    ip[run.l3 + 16] = c >> 8; ip[run.l3 + 17] = c;
    run.h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM; run.h.gso_type = run.v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
    run.h.hdr_len = run.hl; run.h.gso_size = run.seg; run.h.csum_start = run.l3; run.h.csum_offset = 16;
  }
  run.v[0] = (struct iovec){&run.h, 10};
  if (writev(tunfd, run.v, run.n) < 0 && errno != EAGAIN) perror("writev");
  run.n = 0;
}
static void to_tun(uint8_t *ip, size_t padded) {
  int v6 = ip[0] >> 4 == 6; size_t l3 = v6 ? 40 : (ip[0] & 15) * 4;
  size_t len = v6 ? 40 + ((ip[4] << 8) | ip[5]) : (size_t)((ip[2] << 8) | ip[3]);
  if (len > padded) return;
  if ((v6 ? ip[6] : ip[9]) == 6) {
    size_t hl = l3 + (ip[l3 + 12] >> 4) * 4, p = len - hl; uint8_t fl = ip[l3 + 13]; uint32_t seq; memcpy(&seq, ip + l3 + 4, 4); seq = ntohl(seq);
    int plain = p > 0 && (fl & ~0x08) == 0x10;
    if (run.n && plain && !run.closed && run.hl == hl && run.v6 == v6 && seq == run.next && run.n < 60 && run.bytes + hl + p < 65000 && p <= run.seg &&
        !memcmp(run.head + (v6 ? 8 : 12), ip + (v6 ? 8 : 12), v6 ? 36 : 12) && !memcmp(run.head + l3 + 8, ip + l3 + 8, 4) && !memcmp(run.head + l3 + 20, ip + l3 + 20, hl - l3 - 20)) {
      run.v[run.n++] = (struct iovec){ip + hl, p}; run.bytes += p; run.next += p; run.head[l3 + 13] |= fl & 8; run.closed = p < run.seg || (fl & 8);
      return;
    }
    flush_run();
    run.head = ip; run.hl = hl; run.l3 = l3; run.v6 = v6; run.seg = p; run.bytes = p; run.next = seq + p; run.closed = !plain || (fl & 8);
    run.v[1] = (struct iovec){ip, len}; run.n = 2;
    return;
  }
  flush_run();
  struct virtio_net_hdr z = {0}; struct iovec v[2] = {{&z, 10}, {ip, len}};
  if (writev(tunfd, v, 2) < 0 && errno != EAGAIN) perror("writev");
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  tunfd = open("/dev/net/tun", O_RDWR | O_NONBLOCK); if (tunfd < 0) DIE("tun");
  struct ifreq r = {0}; strncpy(r.ifr_name, argv[1], IFNAMSIZ - 1); r.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(tunfd, TUNSETIFF, &r) < 0) DIE("TUNSETIFF");
  if (ioctl(tunfd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6) < 0) DIE("TUNSETOFFLOAD");
  udpfd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0); int one = 1, big = 8 << 20;
  setsockopt(udpfd, SOL_UDP, UDP_GRO, &one, sizeof one);
  setsockopt(udpfd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big); setsockopt(udpfd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
  struct sockaddr_in me = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))}; if (bind(udpfd, (void *)&me, sizeof me)) DIE("bind");
  peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[4]))}; inet_pton(AF_INET, argv[3], &peer.sin_addr);
  memset(key, 7, 32); init_aead();
  struct pollfd pf[2] = {{tunfd, POLLIN, 0}, {udpfd, POLLIN, 0}};
  for (;;) {
    poll(pf, 2, -1);
    if (pf[0].revents & POLLIN)
      for (int i = 0; i < 32; i++) { ssize_t n = read(tunfd, tunbuf, sizeof tunbuf); if (n < 11) break; from_tun(n); }
    if (pf[1].revents & POLLIN) {
      struct mmsghdr mm[16]; struct iovec iv[16]; char cb[16][64];
      for (int i = 0; i < 16; i++) { iv[i] = (struct iovec){udpin[i], 65536}; mm[i].msg_hdr = (struct msghdr){.msg_iov = &iv[i], .msg_iovlen = 1, .msg_control = cb[i], .msg_controllen = 64}; }
      int k = recvmmsg(udpfd, mm, 16, MSG_DONTWAIT, 0);
      for (int i = 0; i < k; i++) {
        size_t n = mm[i].msg_len, seg = n;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&mm[i].msg_hdr); c; c = CMSG_NXTHDR(&mm[i].msg_hdr, c)) if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) seg = *(int *)CMSG_DATA(c);
        int q = 0; for (size_t o = 0; o < n; o += seg, q++) { size_t l = (n - o < seg ? n - o : seg) - WG_HDR - TAG; memset(ivs[q], 0, 4); memcpy(ivs[q] + 4, udpin[i] + o + 8, 8); job(udpin[i] + o + WG_HDR, l, 0, ivs[q], tags[q]); }
        finish(); q = 0;
        for (size_t o = 0; o < n; o += seg, q++) { size_t l = (n - o < seg ? n - o : seg) - WG_HDR - TAG; if (!memcmp(tags[q], udpin[i] + o + WG_HDR + l, 16)) to_tun(udpin[i] + o + WG_HDR, l); else bad++; }
      }
      flush_run();
    }
  }
}
