/*
 * Making a mempool and bringing a port up: the calls whose structures change
 * from release to release (rte_eth_dev_info, rte_eth_conf, rte_eth_stats) are
 * made here, and plain structures of ours go to and from Rust.
 */
#ifndef DPDK_NET_CONTROL_H
#define DPDK_NET_CONTROL_H

/* ---- mempool ---- */

/* Where a mempool's private area starts, without and with caches. */
static const size_t DN_MEMPOOL_HEADER_PLAIN = RTE_MEMPOOL_HEADER_SIZE((struct rte_mempool *)NULL, 0);
static const size_t DN_MEMPOOL_HEADER_CACHED = RTE_MEMPOOL_HEADER_SIZE((struct rte_mempool *)NULL, 1);
/* Where in the private area a pool's tag starts: the cache line behind rte_pktmbuf_pool_private. */
static const size_t DN_POOL_TAG_OFFSET =
	((sizeof(struct rte_pktmbuf_pool_private) + RTE_CACHE_LINE_SIZE - 1) / RTE_CACHE_LINE_SIZE) * RTE_CACHE_LINE_SIZE;

/*
 * A pktmbuf pool whose private area has tag_size bytes at DN_POOL_TAG_OFFSET.
 * Every byte of private area and data room is written once, so no byte that a
 * program can read through an mbuf was never written. On failure NULL with
 * rte_errno set, and *failed names the DPDK function.
 */
struct rte_mempool *dn_pktmbuf_pool_create(const char *name, uint32_t capacity, uint32_t cache_size,
					   uint16_t priv_size, uint16_t data_room, int socket_id,
					   uint32_t tag_size, const char **failed);

/* ---- mbuf ---- */

/* The new value. */
uint16_t dn_mbuf_refcnt_update(struct rte_mbuf *m, int16_t delta);

/* ---- ethdev ---- */

struct dn_port_info {
	char name[RTE_ETH_NAME_MAX_LEN];
	char driver[64];
	uint8_t mac[6];
	int socket_id;
	uint32_t if_index;
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint32_t min_rx_bufsize;
	uint32_t max_rx_pktlen;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint32_t max_mac_addrs;
	uint64_t rx_offload_capa;
	uint64_t tx_offload_capa;
	uint16_t reta_size;
	uint8_t hash_key_size;
	uint64_t rss_types;
	uint16_t rx_desc_min;
	uint16_t rx_desc_max;
	uint16_t rx_desc_align;
	uint16_t rx_desc_default; /* 0: the driver recommends none */
	uint16_t tx_desc_min;
	uint16_t tx_desc_max;
	uint16_t tx_desc_align;
	uint16_t tx_desc_default;
	uint16_t tx_segments_max; /* of a packet; UINT16_MAX: the driver does not say */
	uint16_t tx_segments_max_tso; /* of one that it segments; likewise */
};

struct dn_port_conf {
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint32_t mtu;
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_types; /* 0: no RSS */
	uint8_t *rss_key; /* NULL: the driver's own */
	uint8_t rss_key_len;
};

/* What rte_eth_dev_rss_hash_conf_get() answers. */
struct dn_rss {
	uint64_t types;
	uint8_t key[UINT8_MAX];
	uint8_t key_len; /* in: bytes that the port's key has */
	uint8_t toeplitz; /* whether the hash is Toeplitz's, or whatever the driver has by default */
};

/* The part of rte_eth_stats that every release has. */
struct dn_port_stats {
	uint64_t rx_packets;
	uint64_t tx_packets;
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	uint64_t rx_missed;
	uint64_t rx_errors;
	uint64_t tx_errors;
	uint64_t rx_no_mbuf;
};

/* 0 or a negative errno. */
int dn_eth_port_info(uint16_t port, struct dn_port_info *info);
int dn_eth_configure(uint16_t port, const struct dn_port_conf *conf);
int dn_eth_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *mp);
int dn_eth_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors);
int dn_eth_rss_get(uint16_t port, struct dn_rss *rss);
/* A key of NULL leaves the key as it is. */
int dn_eth_rss_update(uint16_t port, uint64_t types, uint8_t *key, uint8_t key_len);
/* All size entries of the redirection table, a queue each. */
int dn_eth_reta_query(uint16_t port, uint16_t *queues, uint16_t size);
/* Writes the entries that differ from those of old; all if old is NULL. */
int dn_eth_reta_update(uint16_t port, const uint16_t *queues, const uint16_t *old, uint16_t size);
int dn_eth_port_stats(uint16_t port, struct dn_port_stats *stats);
/* The first port at or after this one, RTE_MAX_ETHPORTS if there is none. */
uint16_t dn_eth_next_port(uint16_t port);

#endif
