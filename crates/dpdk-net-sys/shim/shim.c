/*
 * DPDK's inline functions and thread-locals as ordinary functions, plus the
 * log stream. Sections as in shim.h; nothing here decides anything.
 */
#define _GNU_SOURCE /* fopencookie, cpu_set_t */

#include <stdbool.h>
#include <string.h>

#include "shim.h"

/* ---- errno and lcore ---- */

int dn_rte_errno(void)
{
	return rte_errno;
}

void dn_rte_errno_set(int value)
{
	rte_errno = value;
}

uint32_t dn_lcore_id(void)
{
	return rte_lcore_id();
}

uint32_t dn_lcore_next_cpu(uint32_t lcore_id, uint32_t from)
{
	rte_cpuset_t cpus = rte_lcore_cpuset(lcore_id);

	for (uint32_t cpu = from; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			return cpu;
	return UINT32_MAX;
}

/* ---- cycles ---- */

uint64_t dn_rdtsc(void)
{
	return rte_rdtsc();
}

/* ---- log ---- */

static ssize_t log_write(void *cookie, const char *buf, size_t size)
{
	/* Both getters read DPDK's per-lcore record of the message being written. */
	int level = rte_log_cur_msg_loglevel();

	((dn_log_sink)cookie)(level > 0 ? (uint32_t)level : 0, buf, size);
	return (ssize_t)size;
}

int dn_log_redirect(dn_log_sink sink)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *stream = fopencookie((void *)sink, "w", io);

	if (stream == NULL)
		return -1;
	/*
	 * Unbuffered: stdio then writes a message out before another thread can
	 * take the stream, so that level and text belong together.
	 */
	setvbuf(stream, NULL, _IONBF, 0);
	/* DPDK keeps the stream for good: it is never closed. */
	return rte_openlog_stream(stream);
}

/* ---- mempool ---- */

void *dn_mempool_get_priv(struct rte_mempool *mp)
{
	return rte_mempool_get_priv(mp);
}

/* ---- mbuf ---- */

struct rte_mbuf *dn_pktmbuf_alloc(struct rte_mempool *mp)
{
	return rte_pktmbuf_alloc(mp);
}

int dn_pktmbuf_alloc_bulk(struct rte_mempool *mp, struct rte_mbuf **mbufs, uint32_t count)
{
	return rte_pktmbuf_alloc_bulk(mp, mbufs, count);
}

void dn_pktmbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

void dn_pktmbuf_free_seg(struct rte_mbuf *m)
{
	rte_pktmbuf_free_seg(m);
}

void dn_pktmbuf_free_bulk(struct rte_mbuf **mbufs, uint32_t count)
{
	rte_pktmbuf_free_bulk(mbufs, count);
}

void dn_pktmbuf_reset(struct rte_mbuf *m)
{
	rte_pktmbuf_reset(m);
}

uint16_t dn_pktmbuf_headroom(const struct rte_mbuf *m)
{
	return rte_pktmbuf_headroom(m);
}

uint16_t dn_pktmbuf_tailroom(const struct rte_mbuf *m)
{
	return rte_pktmbuf_tailroom(m);
}

char *dn_pktmbuf_append(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_append(m, len);
}

char *dn_pktmbuf_prepend(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_prepend(m, len);
}

char *dn_pktmbuf_adj(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_adj(m, len);
}

int dn_pktmbuf_trim(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_trim(m, len);
}

int dn_pktmbuf_linearize(struct rte_mbuf *m)
{
	return rte_pktmbuf_linearize(m);
}

int dn_pktmbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

struct rte_mbuf *dn_pktmbuf_lastseg(struct rte_mbuf *m)
{
	return rte_pktmbuf_lastseg(m);
}

uint16_t dn_mbuf_refcnt_read(const struct rte_mbuf *m)
{
	return rte_mbuf_refcnt_read(m);
}

void *dn_mbuf_to_priv(struct rte_mbuf *m)
{
	return rte_mbuf_to_priv(m);
}

void dn_pktmbuf_refer(struct rte_mbuf *mi, const struct rte_mbuf *m, uint16_t offset, uint16_t length)
{
	mi->priv_size = m->priv_size;
	mi->ol_flags = RTE_MBUF_F_INDIRECT;
	rte_mbuf_iova_set(mi, rte_mbuf_iova_get(m));
	mi->buf_addr = m->buf_addr;
	mi->buf_len = m->buf_len;
	mi->data_off = offset;
	mi->data_len = length;
	mi->pkt_len = length;
}

uint16_t dn_pktmbuf_data_room_size(struct rte_mempool *mp)
{
	return rte_pktmbuf_data_room_size(mp);
}

uint16_t dn_pktmbuf_priv_size(struct rte_mempool *mp)
{
	return rte_pktmbuf_priv_size(mp);
}

/* ---- ethdev ---- */

/* Packets of a burst whose lengths are remembered where the driver may change them. */
#define LENGTHS 64

/*
 * Whether all packets are of pool, and of one segment; if they were received,
 * of one owner and with data of their own as well, and if they are to be
 * sent, of 1 to longest bytes. Counts are never 0, so they are all 1 if their
 * OR is. *all_flags becomes the OR of their flags.
 */
static inline bool alike(struct rte_mbuf *const *mbufs, uint32_t count, const struct rte_mempool *pool,
			 uint32_t longest, bool received, uint64_t *bytes, uint64_t *all_flags)
{
	struct {
		uint16_t data_off, refcnt, nb_segs, port;
	} counts;
	uint64_t rearm = 0, flags = 0, sum = 0;
	uint32_t i;

#pragma GCC unroll 4
	for (i = 0; i < count; i++) {
		const struct rte_mbuf *m = mbufs[i];

		uint64_t word;

		/* The four fields from data_off on, whatever a release calls the word that they are. */
		memcpy(&word, (const char *)m + DN_MBUF_OFF_DATA_OFF, sizeof(word));
		rearm |= word;
		flags |= m->ol_flags;
		sum += m->pkt_len;
		/* A length of 0 wraps. */
		if (unlikely(m->pool != pool || (!received && m->pkt_len - 1 >= longest)))
			return false;
	}
	*bytes = sum;
	*all_flags = flags;
	memcpy(&counts, &rearm, sizeof(counts));
	return counts.nb_segs == 1 &&
	       (!received || (counts.refcnt == 1 && (flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL)) == 0));
}

uint16_t dn_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count,
			 const struct rte_mempool *pool, uint64_t *bytes)
{
	uint16_t n = rte_eth_rx_burst(port, queue, mbufs, count);
	uint64_t flags;

	if (n != 0 && !alike(mbufs, n, pool, 0, true, bytes, &flags))
		*bytes = DN_NOT_ALIKE;
	return n;
}

uint16_t dn_eth_tx_burst_alike(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count,
			       const struct rte_mempool *pool, uint32_t longest, uint64_t *bytes)
{
	uint32_t lengths[LENGTHS];
	uint64_t sum, flags;
	uint16_t n, i;
	bool tags;

	if (!alike(mbufs, count, pool, longest, false, &sum, &flags) ||
	    ((tags = (flags & RTE_MBUF_F_TX_VLAN) != 0) && count > LENGTHS)) {
		*bytes = DN_NOT_ALIKE;
		return 0;
	}
	/* Drivers write a tag into packets that they do not take then. */
	for (i = 0; tags && i < count; i++)
		lengths[i] = mbufs[i]->pkt_len;
	n = rte_eth_tx_burst(port, queue, mbufs, count);
	for (i = n; i < count; i++)
		sum -= tags ? lengths[i] : mbufs[i]->pkt_len;
	*bytes = sum;
	return n;
}

uint16_t dn_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

uint16_t dn_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, mbufs, count);
}

int dn_eth_rx_queue_count(uint16_t port, uint16_t queue)
{
	return rte_eth_rx_queue_count(port, queue);
}

int dn_eth_rx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset)
{
	return rte_eth_rx_descriptor_status(port, queue, offset);
}

int dn_eth_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset)
{
	return rte_eth_tx_descriptor_status(port, queue, offset);
}

int dn_eth_link_get_nowait(uint16_t port, struct dn_link *link)
{
	struct rte_eth_link raw;
	int rc = rte_eth_link_get_nowait(port, &raw);

	if (rc < 0)
		return rc;
	link->speed_mbps = raw.link_speed;
	link->up = raw.link_status == RTE_ETH_LINK_UP;
	link->full_duplex = raw.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	link->autoneg = raw.link_autoneg == RTE_ETH_LINK_AUTONEG;
	return 0;
}

/* ---- ring ---- */

int dn_ring_enqueue(struct rte_ring *r, void *obj)
{
	return rte_ring_enqueue(r, obj);
}

int dn_ring_dequeue(struct rte_ring *r, void **obj)
{
	return rte_ring_dequeue(r, obj);
}

uint32_t dn_ring_enqueue_burst(struct rte_ring *r, void *const *objs, uint32_t n)
{
	return rte_ring_enqueue_burst(r, objs, n, NULL);
}

uint32_t dn_ring_dequeue_burst(struct rte_ring *r, void **objs, uint32_t n)
{
	return rte_ring_dequeue_burst(r, objs, n, NULL);
}

uint32_t dn_ring_count(const struct rte_ring *r)
{
	return rte_ring_count(r);
}

uint32_t dn_ring_free_count(const struct rte_ring *r)
{
	return rte_ring_free_count(r);
}

uint32_t dn_ring_capacity(const struct rte_ring *r)
{
	return rte_ring_get_capacity(r);
}
