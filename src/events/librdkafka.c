/*
 * A repair of librdkafka: https://github.com/confluentinc/librdkafka/issues/5280
 *
 * A broker that is not the leader of some partitions names the new leaders in its answer to a fetch, or -1 for a partition without
 * one, as after a stall of the only broker. librdkafka allocates a partition for each of these, fills in those with a leader, and then
 * reads all of them. A negative id in the rest of that memory ends the process.
 *
 * The linker calls this function in place of librdkafka's (see build.rs). It sets all partitions to an id that no topic has.
 * librdkafka then fills in those with a leader, and ignores the rest with a line in the log.
 */

#include <stdint.h>
#include <string.h>

/* The types of librdkafka 2.12.1; the first three are public (rdkafka.h). */
struct partition {
    int32_t id;
    int err;
    int32_t leader;
    int replica_count;
    int32_t *replicas;
    int in_sync_count;
    int32_t *in_sync;
};

struct topic {
    char *name;
    int partition_count;
    struct partition *partitions;
    int err;
};

struct metadata {
    int broker_count;
    void *brokers;
    int topic_count;
    struct topic *topics;
};

struct uuid {
    int64_t most;
    int64_t least;
    char text[23];
};

void __real_rd_kafkap_leader_discovery_set_topic(void *buffer, struct metadata *metadata, int number, struct uuid id, char *name,
                                                 int partition_count);

void __wrap_rd_kafkap_leader_discovery_set_topic(void *buffer, struct metadata *metadata, int number, struct uuid id, char *name,
                                                 int partition_count) {
    __real_rd_kafkap_leader_discovery_set_topic(buffer, metadata, number, id, name, partition_count);
    for (int i = 0; i < partition_count; i++) {
        struct partition *partition = &metadata->topics[number].partitions[i];
        memset(partition, 0, sizeof *partition);
        partition->id = INT32_MAX;
        partition->leader = -1;
    }
}
