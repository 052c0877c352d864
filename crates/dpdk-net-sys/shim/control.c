/*
 * The control plane: see control.h. Nothing here checks or decides, that is
 * the Rust side's.
 */
#include <stdlib.h>
#include <string.h>

#include "shim.h"

/* ---- mempool ---- */

static void mbuf_init(struct rte_mempool *mp, void *opaque, void *obj, unsigned int index)
{
	struct rte_mbuf *m = obj;

	rte_pktmbuf_init(mp, opaque, obj, index);
	memset(m + 1, 0, (size_t)m->priv_size + m->buf_len);
}

/*
 * The operations DPDK prefers, unless the command line asked for those that
 * are not safe from several threads (--mbuf-pool-ops-name=ring_sp_sc).
 */
static const char *pool_ops(void)
{
	const char *ops = rte_mbuf_best_mempool_ops();

	return strstr(ops, "_sp_") != NULL || strstr(ops, "_sc") != NULL ? "ring_mp_mc" : ops;
}

struct rte_mempool *dn_pktmbuf_pool_create(const char *name, uint32_t capacity, uint32_t cache_size,
					   uint16_t priv_size, uint16_t data_room, int socket_id,
					   uint32_t tag_size, const char **failed)
{
	struct rte_pktmbuf_pool_private priv = { .mbuf_data_room_size = data_room, .mbuf_priv_size = priv_size };
	unsigned int elt_size = (unsigned int)sizeof(struct rte_mbuf) + priv_size + data_room;
	struct rte_mempool *mp;
	int rc;

	mp = rte_mempool_create_empty(name, capacity, elt_size, cache_size,
				      (unsigned int)DN_POOL_TAG_OFFSET + tag_size, socket_id, 0);
	if (mp == NULL) {
		*failed = "rte_mempool_create_empty";
		return NULL;
	}
	rc = rte_mempool_set_ops_byname(mp, pool_ops(), NULL);
	if (rc < 0) {
		*failed = "rte_mempool_set_ops_byname";
		rte_mempool_free(mp);
		rte_errno = -rc;
		return NULL;
	}
	rte_pktmbuf_pool_init(mp, &priv);
	rc = rte_mempool_populate_default(mp);
	if (rc < 0) {
		*failed = "rte_mempool_populate_default";
		rte_mempool_free(mp);
		rte_errno = -rc;
		return NULL;
	}
	rte_mempool_obj_iter(mp, mbuf_init, NULL);
	return mp;
}

/* ---- mbuf ---- */

uint16_t dn_mbuf_refcnt_update(struct rte_mbuf *m, int16_t delta)
{
	return rte_mbuf_refcnt_update(m, delta);
}

/* ---- ethdev ---- */

static void copy_text(char *to, size_t size, const char *from)
{
	size_t n = from == NULL ? 0 : strnlen(from, size - 1);

	if (n > 0)
		memcpy(to, from, n);
	to[n] = '\0';
}

int dn_eth_port_info(uint16_t port, struct dn_port_info *info)
{
	struct rte_eth_dev_info dev;
	struct rte_ether_addr mac;
	int rc;

	memset(info, 0, sizeof(*info));
	rc = rte_eth_dev_info_get(port, &dev);
	if (rc < 0)
		return rc;
	rc = rte_eth_dev_get_name_by_port(port, info->name);
	if (rc < 0)
		return rc;
	rc = rte_eth_macaddr_get(port, &mac);
	if (rc < 0)
		return rc;
	memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
	copy_text(info->driver, sizeof(info->driver), dev.driver_name);
	info->socket_id = rte_eth_dev_socket_id(port);
	info->if_index = dev.if_index;
	info->min_mtu = dev.min_mtu;
	info->max_mtu = dev.max_mtu;
	info->min_rx_bufsize = dev.min_rx_bufsize;
	info->max_rx_pktlen = dev.max_rx_pktlen;
	info->max_rx_queues = dev.max_rx_queues;
	info->max_tx_queues = dev.max_tx_queues;
	info->max_mac_addrs = dev.max_mac_addrs;
	info->rx_offload_capa = dev.rx_offload_capa;
	info->tx_offload_capa = dev.tx_offload_capa;
	info->reta_size = dev.reta_size;
	info->hash_key_size = dev.hash_key_size;
	info->rss_types = dev.flow_type_rss_offloads;
	info->rx_desc_min = dev.rx_desc_lim.nb_min;
	info->rx_desc_max = dev.rx_desc_lim.nb_max;
	info->rx_desc_align = dev.rx_desc_lim.nb_align;
	info->rx_desc_default = dev.default_rxportconf.ring_size;
	info->tx_desc_min = dev.tx_desc_lim.nb_min;
	info->tx_desc_max = dev.tx_desc_lim.nb_max;
	info->tx_desc_align = dev.tx_desc_lim.nb_align;
	info->tx_desc_default = dev.default_txportconf.ring_size;
	info->tx_segments_max = dev.tx_desc_lim.nb_mtu_seg_max;
	info->tx_segments_max_tso = dev.tx_desc_lim.nb_seg_max;
	return 0;
}

int dn_eth_configure(uint16_t port, const struct dn_port_conf *conf)
{
	struct rte_eth_conf eth;

	memset(&eth, 0, sizeof(eth));
	eth.rxmode.mq_mode = conf->rss_types != 0 ? RTE_ETH_MQ_RX_RSS : RTE_ETH_MQ_RX_NONE;
	eth.rxmode.mtu = conf->mtu;
	eth.rxmode.offloads = conf->rx_offloads;
	eth.txmode.mq_mode = RTE_ETH_MQ_TX_NONE;
	eth.txmode.offloads = conf->tx_offloads;
	eth.rx_adv_conf.rss_conf.rss_hf = conf->rss_types;
	eth.rx_adv_conf.rss_conf.rss_key = conf->rss_key;
	eth.rx_adv_conf.rss_conf.rss_key_len = conf->rss_key_len;
	return rte_eth_dev_configure(port, conf->rx_queues, conf->tx_queues, &eth);
}

int dn_eth_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *mp)
{
	/* No configuration of the queue's own: the driver's defaults with the port's offloads. */
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)rte_eth_dev_socket_id(port), NULL, mp);
}

int dn_eth_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors)
{
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)rte_eth_dev_socket_id(port), NULL);
}

int dn_eth_rss_get(uint16_t port, struct dn_rss *rss)
{
	struct rte_eth_rss_conf conf;
	int rc;

	memset(&conf, 0, sizeof(conf));
	conf.rss_key = rss->key;
	conf.rss_key_len = rss->key_len;
	rc = rte_eth_dev_rss_hash_conf_get(port, &conf);
	if (rc < 0)
		return rc;
	rss->types = conf.rss_hf;
	/* Some drivers leave the length as it was, some the key. */
	if (conf.rss_key == NULL)
		rss->key_len = 0;
	else if (conf.rss_key_len != 0)
		rss->key_len = conf.rss_key_len;
#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
	rss->toeplitz = conf.algorithm == RTE_ETH_HASH_FUNCTION_DEFAULT ||
			conf.algorithm == RTE_ETH_HASH_FUNCTION_TOEPLITZ;
#else
	rss->toeplitz = 1;
#endif
	return 0;
}

int dn_eth_rss_update(uint16_t port, uint64_t types, uint8_t *key, uint8_t key_len)
{
	struct rte_eth_rss_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.rss_hf = types;
	conf.rss_key = key;
	conf.rss_key_len = key_len;
	return rte_eth_dev_rss_hash_update(port, &conf);
}

/* A redirection table as DPDK wants it, in groups of 64 with nothing selected; NULL if memory is short. */
static struct rte_eth_rss_reta_entry64 *reta_groups(uint16_t size)
{
	return calloc(((size_t)size + RTE_ETH_RETA_GROUP_SIZE - 1) / RTE_ETH_RETA_GROUP_SIZE,
		      sizeof(struct rte_eth_rss_reta_entry64));
}

static void reta_select(struct rte_eth_rss_reta_entry64 *groups, uint16_t entry, uint16_t queue)
{
	groups[entry / RTE_ETH_RETA_GROUP_SIZE].mask |= RTE_BIT64(entry % RTE_ETH_RETA_GROUP_SIZE);
	groups[entry / RTE_ETH_RETA_GROUP_SIZE].reta[entry % RTE_ETH_RETA_GROUP_SIZE] = queue;
}

int dn_eth_reta_query(uint16_t port, uint16_t *queues, uint16_t size)
{
	struct rte_eth_rss_reta_entry64 *groups = reta_groups(size);
	uint16_t i;
	int rc;

	if (groups == NULL)
		return -ENOMEM;
	for (i = 0; i < size; i++)
		reta_select(groups, i, 0);
	rc = rte_eth_dev_rss_reta_query(port, groups, size);
	for (i = 0; rc >= 0 && i < size; i++)
		queues[i] = groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
	free(groups);
	return rc;
}

int dn_eth_reta_update(uint16_t port, const uint16_t *queues, const uint16_t *old, uint16_t size)
{
	struct rte_eth_rss_reta_entry64 *groups = reta_groups(size);
	int changes = 0;
	uint16_t i;
	int rc = 0;

	if (groups == NULL)
		return -ENOMEM;
	for (i = 0; i < size; i++) {
		if (old == NULL || old[i] != queues[i]) {
			reta_select(groups, i, queues[i]);
			changes = 1;
		}
	}
	/* DPDK refuses to change nothing. */
	if (changes)
		rc = rte_eth_dev_rss_reta_update(port, groups, size);
	free(groups);
	return rc;
}

int dn_eth_port_stats(uint16_t port, struct dn_port_stats *stats)
{
	struct rte_eth_stats raw;
	int rc;

	memset(&raw, 0, sizeof(raw));
	rc = rte_eth_stats_get(port, &raw);
	if (rc < 0)
		return rc;
	stats->rx_packets = raw.ipackets;
	stats->tx_packets = raw.opackets;
	stats->rx_bytes = raw.ibytes;
	stats->tx_bytes = raw.obytes;
	stats->rx_missed = raw.imissed;
	stats->rx_errors = raw.ierrors;
	stats->tx_errors = raw.oerrors;
	stats->rx_no_mbuf = raw.rx_nombuf;
	return 0;
}

uint16_t dn_eth_next_port(uint16_t port)
{
	return (uint16_t)rte_eth_find_next(port);
}
