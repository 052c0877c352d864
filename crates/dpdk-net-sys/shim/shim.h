/*
 * What bindgen reads: DPDK's headers, then the functions and constants that
 * bindgen cannot take from them (inline functions, thread-locals, RTE_BIT64
 * macros, field offsets). One section per DPDK library, the same order as in
 * shim.c. Everything of ours is called dn_ or DN_.
 */
#ifndef DPDK_NET_SHIM_H
#define DPDK_NET_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_version.h>
#include <rte_config.h>
#include <rte_errno.h>
#include <rte_eal.h>
#include <rte_log.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_cycles.h>
#include <rte_thread.h>
#include <rte_memory.h>
#include <rte_malloc.h>
#include <rte_mempool.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_ring.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_ether.h>
#include <rte_ethdev.h>
#include <rte_eth_ring.h>
#include <rte_bus_vdev.h>

/* Constants as bindgen understands them: usize and u64 in Rust. */
#define DN_SIZE(name, value) static const size_t DN_##name = (value)
#define DN_FLAG64(name) static const uint64_t DN_##name = RTE_##name

/* ---- version ---- */

static const uint32_t DN_RTE_VERSION = RTE_VERSION;

/* ---- errno and lcore: thread-locals behind functions ---- */

int dn_rte_errno(void);
void dn_rte_errno_set(int value);
/* LCORE_ID_ANY (UINT32_MAX) on a thread that is neither an lcore nor registered. */
uint32_t dn_lcore_id(void);
/* The first CPU from this one on that an lcore below DN_MAX_LCORE may run on; UINT32_MAX if there is none. */
uint32_t dn_lcore_next_cpu(uint32_t lcore_id, uint32_t from);

static const uint32_t DN_LCORE_ID_ANY = LCORE_ID_ANY;
static const uint32_t DN_MAX_LCORE = RTE_MAX_LCORE;
static const int DN_SOCKET_ID_ANY = SOCKET_ID_ANY;

/* ---- cycles ---- */

uint64_t dn_rdtsc(void);

/* ---- log ---- */

/*
 * Receives what DPDK logs, in pieces as stdio hands them over, on the thread
 * that logs. level is RTE_LOG_*, 0 if unknown. Must not call DPDK's log.
 */
typedef void (*dn_log_sink)(uint32_t level, const char *bytes, size_t len);

/* Sends DPDK's log to sink from now on, for the rest of the process. 0, or -1 with errno set. */
int dn_log_redirect(dn_log_sink sink);

/* ---- mempool ---- */

void *dn_mempool_get_priv(struct rte_mempool *mp);

DN_SIZE(MEMPOOL_OFF_NAME, offsetof(struct rte_mempool, name));
DN_SIZE(MEMPOOL_OFF_SIZE, offsetof(struct rte_mempool, size));
DN_SIZE(MEMPOOL_OFF_CACHE_SIZE, offsetof(struct rte_mempool, cache_size));
DN_SIZE(MEMPOOL_OFF_ELT_SIZE, offsetof(struct rte_mempool, elt_size));
DN_SIZE(MEMPOOL_OFF_SOCKET_ID, offsetof(struct rte_mempool, socket_id));
DN_SIZE(MEMPOOL_OFF_PRIVATE_DATA_SIZE, offsetof(struct rte_mempool, private_data_size));
/* What rte_pktmbuf_pool_init() keeps at the start of the private area. */
DN_SIZE(PKTMBUF_POOL_PRIVATE_SIZE, sizeof(struct rte_pktmbuf_pool_private));
/* Largest per-lcore cache rte_mempool_create_empty() takes. */
DN_SIZE(MEMPOOL_CACHE_MAX_SIZE, RTE_MEMPOOL_CACHE_MAX_SIZE);
DN_SIZE(MEMPOOL_NAMESIZE, RTE_MEMPOOL_NAMESIZE);

/* ---- mbuf ---- */

struct rte_mbuf *dn_pktmbuf_alloc(struct rte_mempool *mp);
/* 0, or -ENOENT and nothing was allocated. */
int dn_pktmbuf_alloc_bulk(struct rte_mempool *mp, struct rte_mbuf **mbufs, uint32_t count);
void dn_pktmbuf_free(struct rte_mbuf *m);
void dn_pktmbuf_free_seg(struct rte_mbuf *m);
void dn_pktmbuf_free_bulk(struct rte_mbuf **mbufs, uint32_t count);
void dn_pktmbuf_reset(struct rte_mbuf *m);
uint16_t dn_pktmbuf_headroom(const struct rte_mbuf *m);
uint16_t dn_pktmbuf_tailroom(const struct rte_mbuf *m);
/* NULL if there is not that much room. */
char *dn_pktmbuf_append(struct rte_mbuf *m, uint16_t len);
char *dn_pktmbuf_prepend(struct rte_mbuf *m, uint16_t len);
/* NULL / -1 if the segment is shorter than that. */
char *dn_pktmbuf_adj(struct rte_mbuf *m, uint16_t len);
int dn_pktmbuf_trim(struct rte_mbuf *m, uint16_t len);
/* 0, or -1 if the tailroom of the first segment is too small. */
int dn_pktmbuf_linearize(struct rte_mbuf *m);
/* 0, or -EOVERFLOW. */
int dn_pktmbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
struct rte_mbuf *dn_pktmbuf_lastseg(struct rte_mbuf *m);
uint16_t dn_mbuf_refcnt_read(const struct rte_mbuf *m);
void *dn_mbuf_to_priv(struct rte_mbuf *m);
/*
 * Makes of mi, which is fresh, a segment over length bytes from offset of m's
 * buffer: rte_pktmbuf_attach(), but for m's reference count, which is the
 * caller's to raise (it is not atomic there), and for what it copies of a
 * packet's first segment.
 */
void dn_pktmbuf_refer(struct rte_mbuf *mi, const struct rte_mbuf *m, uint16_t offset, uint16_t length);
uint16_t dn_pktmbuf_data_room_size(struct rte_mempool *mp);
uint16_t dn_pktmbuf_priv_size(struct rte_mempool *mp);

/*
 * Field offsets: which anonymous union a field lives in differs between
 * 22.11 and 25.11, its offset is what both agree to name.
 */
DN_SIZE(MBUF_SIZE, sizeof(struct rte_mbuf));
DN_SIZE(MBUF_OFF_BUF_ADDR, offsetof(struct rte_mbuf, buf_addr));
DN_SIZE(MBUF_OFF_DATA_OFF, offsetof(struct rte_mbuf, data_off));
DN_SIZE(MBUF_OFF_REFCNT, offsetof(struct rte_mbuf, refcnt));
DN_SIZE(MBUF_OFF_NB_SEGS, offsetof(struct rte_mbuf, nb_segs));
DN_SIZE(MBUF_OFF_PORT, offsetof(struct rte_mbuf, port));
DN_SIZE(MBUF_OFF_OL_FLAGS, offsetof(struct rte_mbuf, ol_flags));
DN_SIZE(MBUF_OFF_PACKET_TYPE, offsetof(struct rte_mbuf, packet_type));
DN_SIZE(MBUF_OFF_PKT_LEN, offsetof(struct rte_mbuf, pkt_len));
DN_SIZE(MBUF_OFF_DATA_LEN, offsetof(struct rte_mbuf, data_len));
DN_SIZE(MBUF_OFF_VLAN_TCI, offsetof(struct rte_mbuf, vlan_tci));
DN_SIZE(MBUF_OFF_HASH_RSS, offsetof(struct rte_mbuf, hash.rss));
DN_SIZE(MBUF_OFF_FLOW_MARK, offsetof(struct rte_mbuf, hash.fdir.hi));
DN_SIZE(MBUF_OFF_BUF_LEN, offsetof(struct rte_mbuf, buf_len));
DN_SIZE(MBUF_OFF_POOL, offsetof(struct rte_mbuf, pool));
DN_SIZE(MBUF_OFF_NEXT, offsetof(struct rte_mbuf, next));
DN_SIZE(MBUF_OFF_TX_OFFLOAD, offsetof(struct rte_mbuf, tx_offload));
DN_SIZE(MBUF_OFF_PRIV_SIZE, offsetof(struct rte_mbuf, priv_size));
DN_SIZE(MBUF_HEADROOM, RTE_PKTMBUF_HEADROOM);
DN_SIZE(MBUF_DEFAULT_DATAROOM, RTE_MBUF_DEFAULT_DATAROOM);
DN_SIZE(MBUF_PRIV_ALIGN, RTE_MBUF_PRIV_ALIGN);
DN_SIZE(MBUF_MAX_NB_SEGS, RTE_MBUF_MAX_NB_SEGS);
/* tx_offload: l2_len, l3_len, l4_len, tso_segsz from bit 0 upwards. */
DN_SIZE(MBUF_L2_LEN_BITS, RTE_MBUF_L2_LEN_BITS);
DN_SIZE(MBUF_L3_LEN_BITS, RTE_MBUF_L3_LEN_BITS);
DN_SIZE(MBUF_L4_LEN_BITS, RTE_MBUF_L4_LEN_BITS);
DN_SIZE(MBUF_TSO_SEGSZ_BITS, RTE_MBUF_TSO_SEGSZ_BITS);

DN_FLAG64(MBUF_F_RX_VLAN);
DN_FLAG64(MBUF_F_RX_VLAN_STRIPPED);
DN_FLAG64(MBUF_F_RX_RSS_HASH);
DN_FLAG64(MBUF_F_RX_FDIR_ID);
DN_FLAG64(MBUF_F_RX_IP_CKSUM_UNKNOWN);
DN_FLAG64(MBUF_F_RX_IP_CKSUM_BAD);
DN_FLAG64(MBUF_F_RX_IP_CKSUM_GOOD);
DN_FLAG64(MBUF_F_RX_IP_CKSUM_NONE);
DN_FLAG64(MBUF_F_RX_IP_CKSUM_MASK);
DN_FLAG64(MBUF_F_RX_L4_CKSUM_UNKNOWN);
DN_FLAG64(MBUF_F_RX_L4_CKSUM_BAD);
DN_FLAG64(MBUF_F_RX_L4_CKSUM_GOOD);
DN_FLAG64(MBUF_F_RX_L4_CKSUM_NONE);
DN_FLAG64(MBUF_F_RX_L4_CKSUM_MASK);
DN_FLAG64(MBUF_F_RX_OUTER_IP_CKSUM_BAD);
DN_FLAG64(MBUF_F_RX_OUTER_L4_CKSUM_BAD);
DN_FLAG64(MBUF_F_RX_OUTER_L4_CKSUM_MASK);
DN_FLAG64(MBUF_F_RX_LRO);
DN_FLAG64(MBUF_F_RX_QINQ);
DN_FLAG64(MBUF_F_RX_QINQ_STRIPPED);
DN_FLAG64(MBUF_F_TX_VLAN);
DN_FLAG64(MBUF_F_TX_IPV4);
DN_FLAG64(MBUF_F_TX_IPV6);
DN_FLAG64(MBUF_F_TX_IP_CKSUM);
DN_FLAG64(MBUF_F_TX_TCP_CKSUM);
DN_FLAG64(MBUF_F_TX_UDP_CKSUM);
DN_FLAG64(MBUF_F_TX_SCTP_CKSUM);
DN_FLAG64(MBUF_F_TX_L4_MASK);
DN_FLAG64(MBUF_F_TX_TCP_SEG);
DN_FLAG64(MBUF_F_TX_UDP_SEG);
DN_FLAG64(MBUF_F_TX_OFFLOAD_MASK);
DN_FLAG64(MBUF_F_EXTERNAL);
DN_FLAG64(MBUF_F_INDIRECT);

/* ---- ethdev ---- */

/* In place of a number of bytes: the packets are not all alike. */
static const uint64_t DN_NOT_ALIKE = UINT64_MAX;
/*
 * rte_eth_rx_burst(). If it delivers any, bytes is their length, or
 * DN_NOT_ALIKE unless all packets are of pool, of one segment and one owner,
 * and not with another's data.
 */
uint16_t dn_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count,
			 const struct rte_mempool *pool, uint64_t *bytes);
/*
 * rte_eth_tx_burst() if all packets are of pool, of one segment and of 1 to
 * longest bytes: bytes is the length of those it took. Else DN_NOT_ALIKE, and
 * nothing happened.
 */
uint16_t dn_eth_tx_burst_alike(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count,
			       const struct rte_mempool *pool, uint32_t longest, uint64_t *bytes);
uint16_t dn_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t dn_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
int dn_eth_rx_queue_count(uint16_t port, uint16_t queue);
int dn_eth_rx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset);
int dn_eth_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset);
/* struct rte_eth_link is made of bit-fields: taken apart here. */
struct dn_link {
	uint32_t speed_mbps; /* UINT32_MAX: unknown */
	uint8_t up;
	uint8_t full_duplex;
	uint8_t autoneg;
};
int dn_eth_link_get_nowait(uint16_t port, struct dn_link *link);

DN_FLAG64(ETH_RX_OFFLOAD_VLAN_STRIP);
DN_FLAG64(ETH_RX_OFFLOAD_IPV4_CKSUM);
DN_FLAG64(ETH_RX_OFFLOAD_UDP_CKSUM);
DN_FLAG64(ETH_RX_OFFLOAD_TCP_CKSUM);
DN_FLAG64(ETH_RX_OFFLOAD_TCP_LRO);
DN_FLAG64(ETH_RX_OFFLOAD_QINQ_STRIP);
DN_FLAG64(ETH_RX_OFFLOAD_OUTER_IPV4_CKSUM);
DN_FLAG64(ETH_RX_OFFLOAD_VLAN_FILTER);
DN_FLAG64(ETH_RX_OFFLOAD_VLAN_EXTEND);
DN_FLAG64(ETH_RX_OFFLOAD_SCATTER);
DN_FLAG64(ETH_RX_OFFLOAD_TIMESTAMP);
DN_FLAG64(ETH_RX_OFFLOAD_KEEP_CRC);
DN_FLAG64(ETH_RX_OFFLOAD_SCTP_CKSUM);
DN_FLAG64(ETH_RX_OFFLOAD_OUTER_UDP_CKSUM);
DN_FLAG64(ETH_RX_OFFLOAD_RSS_HASH);
DN_FLAG64(ETH_RX_OFFLOAD_BUFFER_SPLIT);
DN_FLAG64(ETH_TX_OFFLOAD_VLAN_INSERT);
DN_FLAG64(ETH_TX_OFFLOAD_IPV4_CKSUM);
DN_FLAG64(ETH_TX_OFFLOAD_UDP_CKSUM);
DN_FLAG64(ETH_TX_OFFLOAD_TCP_CKSUM);
DN_FLAG64(ETH_TX_OFFLOAD_SCTP_CKSUM);
DN_FLAG64(ETH_TX_OFFLOAD_TCP_TSO);
DN_FLAG64(ETH_TX_OFFLOAD_UDP_TSO);
DN_FLAG64(ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM);
DN_FLAG64(ETH_TX_OFFLOAD_QINQ_INSERT);
DN_FLAG64(ETH_TX_OFFLOAD_MT_LOCKFREE);
DN_FLAG64(ETH_TX_OFFLOAD_MULTI_SEGS);
DN_FLAG64(ETH_TX_OFFLOAD_MBUF_FAST_FREE);
DN_FLAG64(ETH_TX_OFFLOAD_OUTER_UDP_CKSUM);
DN_FLAG64(ETH_DEV_CAPA_RUNTIME_RX_QUEUE_SETUP);
DN_FLAG64(ETH_DEV_CAPA_RUNTIME_TX_QUEUE_SETUP);
DN_FLAG64(ETH_DEV_CAPA_RXQ_SHARE);
DN_FLAG64(ETH_DEV_CAPA_FLOW_RULE_KEEP);
DN_FLAG64(ETH_RSS_IPV4);
DN_FLAG64(ETH_RSS_FRAG_IPV4);
DN_FLAG64(ETH_RSS_NONFRAG_IPV4_TCP);
DN_FLAG64(ETH_RSS_NONFRAG_IPV4_UDP);
DN_FLAG64(ETH_RSS_NONFRAG_IPV4_OTHER);
DN_FLAG64(ETH_RSS_IPV6);
DN_FLAG64(ETH_RSS_FRAG_IPV6);
DN_FLAG64(ETH_RSS_NONFRAG_IPV6_TCP);
DN_FLAG64(ETH_RSS_NONFRAG_IPV6_UDP);
DN_FLAG64(ETH_RSS_NONFRAG_IPV6_OTHER);

/* ---- ring ---- */

DN_SIZE(RING_F_SP_ENQ, RING_F_SP_ENQ);
DN_SIZE(RING_F_SC_DEQ, RING_F_SC_DEQ);
DN_SIZE(RING_F_MP_RTS_ENQ, RING_F_MP_RTS_ENQ);
DN_SIZE(RING_F_EXACT_SZ, RING_F_EXACT_SZ);
DN_SIZE(RING_NAMESIZE, RTE_RING_NAMESIZE);

/* 0, or -ENOBUFS / -ENOENT. */
int dn_ring_enqueue(struct rte_ring *r, void *obj);
int dn_ring_dequeue(struct rte_ring *r, void **obj);
uint32_t dn_ring_enqueue_burst(struct rte_ring *r, void *const *objs, uint32_t n);
uint32_t dn_ring_dequeue_burst(struct rte_ring *r, void **objs, uint32_t n);
uint32_t dn_ring_count(const struct rte_ring *r);
uint32_t dn_ring_free_count(const struct rte_ring *r);
uint32_t dn_ring_capacity(const struct rte_ring *r);

#include "control.h"
#include "flow.h"
#include "telemetry.h"

#endif
