/*
 * A client of libzookeeper_mt that tries the whole C API against one server.
 *
 *   client HOST:PORT
 *
 * Prints "ok NAME" or "FAILED NAME: what" per check and ends with status 1 when one failed. On standard output it asks for a
 * restart of the server with the line "RESTART", and goes on when a line comes in on standard input: its session, ephemeral
 * node and watches must survive. No check depends on time but for an upper bound on every wait.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

#define WAIT_SECONDS 30
#define BASE "/cclient"

static int failures;

static void check(int good, const char *name, const char *format, ...) {
    va_list values;
    if (good) {
        printf("ok      %s\n", name);
    } else {
        failures++;
        printf("FAILED  %s: ", name);
        va_start(values, format);
        vprintf(format, values);
        va_end(values);
        printf("\n");
    }
    fflush(stdout);
}

static void check_rc(int rc, int want, const char *name) {
    check(rc == want, name, "%s (%d), expected %s (%d)", zerror(rc), rc, zerror(want), want);
}

/* Everything that callbacks tell the main thread. One lock and one condition are enough. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct event {
    int type, state;
    char path[256];
};
static struct event events[256];
static int event_count;
static int session_state = -1;

/* Waits for a condition with the lock held; false when the time is over. */
static int wait_a_while(void) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_SECONDS;
    return pthread_cond_timedwait(&changed, &lock, &end) == 0;
}

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh, (void)context;
    pthread_mutex_lock(&lock);
    if (type == ZOO_SESSION_EVENT) {
        session_state = state;
    } else if (event_count < 256) {
        events[event_count].type = type;
        events[event_count].state = state;
        snprintf(events[event_count++].path, sizeof events[0].path, "%s", path ? path : "(null)");
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int wait_for_state(int state) {
    int good = 1;
    pthread_mutex_lock(&lock);
    while (session_state != state && good) good = wait_a_while();
    pthread_mutex_unlock(&lock);
    return good;
}

/* Takes one event of this kind out of the list, waiting for it. */
static int take_event(int type, const char *path) {
    int taken = 0, good = 1;
    pthread_mutex_lock(&lock);
    while (!taken && good) {
        for (int i = 0; i < event_count && !taken; i++) {
            if (events[i].type == type && strcmp(events[i].path, path) == 0) {
                events[i] = events[--event_count];
                taken = 1;
            }
        }
        if (!taken) good = wait_a_while();
    }
    pthread_mutex_unlock(&lock);
    return taken;
}

static int events_left(void) {
    pthread_mutex_lock(&lock);
    int left = event_count;
    pthread_mutex_unlock(&lock);
    return left;
}

/* One asynchronous call: its completion fills this in. */
struct answer {
    int done, rc, count, length;
    struct Stat stat;
    char text[256];
};

static void finish(struct answer *answer, int rc) {
    pthread_mutex_lock(&lock);
    answer->rc = rc;
    answer->done = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int wait_for(struct answer *answer) {
    int good = 1;
    pthread_mutex_lock(&lock);
    while (!answer->done && good) good = wait_a_while();
    pthread_mutex_unlock(&lock);
    return good ? answer->rc : ZOPERATIONTIMEOUT;
}

static void on_void(int rc, const void *data) { finish((struct answer *)data, rc); }

static void on_stat(int rc, const struct Stat *stat, const void *data) {
    if (rc == ZOK) ((struct answer *)data)->stat = *stat;
    finish((struct answer *)data, rc);
}

static void on_string(int rc, const char *value, const void *data) {
    if (rc == ZOK) snprintf(((struct answer *)data)->text, sizeof ((struct answer *)0)->text, "%s", value);
    finish((struct answer *)data, rc);
}

static void on_string_stat(int rc, const char *value, const struct Stat *stat, const void *data) {
    if (rc == ZOK) ((struct answer *)data)->stat = *stat;
    on_string(rc, value, data);
}

static void on_data(int rc, const char *value, int length, const struct Stat *stat, const void *data) {
    struct answer *answer = (struct answer *)data;
    if (rc == ZOK) {
        answer->stat = *stat;
        answer->length = length;
        if (length > 0 && length < (int)sizeof answer->text) memcpy(answer->text, value, length);
    }
    finish(answer, rc);
}

static void on_strings(int rc, const struct String_vector *strings, const void *data) {
    if (rc == ZOK) ((struct answer *)data)->count = strings->count;
    finish((struct answer *)data, rc);
}

static void on_strings_stat(int rc, const struct String_vector *strings, const struct Stat *stat, const void *data) {
    if (rc == ZOK) ((struct answer *)data)->stat = *stat;
    on_strings(rc, strings, data);
}

static void on_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data) {
    struct answer *answer = (struct answer *)data;
    if (rc == ZOK) {
        answer->count = acl->count;
        answer->stat = *stat;
        if (acl->count > 0) snprintf(answer->text, sizeof answer->text, "%s", acl->data[0].id.scheme);
    }
    finish(answer, rc);
}

static zhandle_t *connect_to(const char *server, const clientid_t *id) {
    session_state = -1;
    zhandle_t *zh = zookeeper_init(server, watcher, 30000, id, NULL, 0);
    if (zh == NULL || !wait_for_state(ZOO_CONNECTED_STATE)) {
        printf("FAILED  connect to %s\n", server);
        exit(1);
    }
    return zh;
}

static void synchronous(zhandle_t *zh) {
    char path[256], data[256];
    int length;
    struct Stat stat, seen;

    check_rc(zoo_create(zh, BASE, "root", 4, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, path, sizeof path), ZOK, "create");
    check(strcmp(path, BASE) == 0, "create: the path comes back", "%s", path);
    check_rc(zoo_create(zh, BASE, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNODEEXISTS, "create again");
    check_rc(zoo_create(zh, BASE "/a/b", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNONODE, "create without a parent");
    check_rc(zoo_create2(zh, BASE "/two", "12345", 5, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, path, sizeof path, &stat), ZOK,
             "create2");
    check(stat.dataLength == 5 && stat.czxid > 0 && stat.czxid == stat.mzxid, "create2: the stat of the new node", "%d, 0x%llx",
          stat.dataLength, (long long)stat.czxid);

    length = sizeof data;
    check_rc(zoo_get(zh, BASE "/two", 0, data, &length, &seen), ZOK, "get");
    check(length == 5 && memcmp(data, "12345", 5) == 0, "get: the data", "%d bytes", length);
    check(stat.czxid == seen.czxid && stat.mzxid == seen.mzxid && stat.pzxid == seen.pzxid && stat.ctime == seen.ctime &&
              stat.mtime == seen.mtime && stat.version == seen.version && stat.cversion == seen.cversion &&
              stat.aversion == seen.aversion && stat.dataLength == seen.dataLength && stat.numChildren == seen.numChildren,
          "get: the same stat as create2 gave", "czxid 0x%llx", (long long)seen.czxid);
    check_rc(zoo_set2(zh, BASE "/two", "new", 3, 0, &stat), ZOK, "set2 with the right version");
    check(stat.version == 1 && stat.mzxid > stat.czxid, "set2: version and mzxid move", "version %d", stat.version);
    check_rc(zoo_set(zh, BASE "/two", "x", 1, 0), ZBADVERSION, "set with a stale version");
    check_rc(zoo_set(zh, BASE "/two", NULL, -1, -1), ZOK, "set to null");
    length = sizeof data;
    check_rc(zoo_get(zh, BASE "/two", 0, data, &length, &stat), ZOK, "get null");
    check(length == -1 && stat.dataLength == 0, "get null: length -1", "length %d, dataLength %d", length, stat.dataLength);

    check_rc(zoo_exists(zh, BASE "/two", 0, &stat), ZOK, "exists");
    check_rc(zoo_exists(zh, BASE "/none", 0, &stat), ZNONODE, "exists without a node");

    for (int i = 0; i < 3; i++) {
        char want[64];
        check_rc(zoo_create(zh, BASE "/two/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, path, sizeof path), ZOK,
                 "create a sequential node");
        snprintf(want, sizeof want, BASE "/two/s-%010d", i);
        check(strcmp(path, want) == 0, "sequential names count up", "%s, expected %s", path, want);
    }
    struct String_vector names;
    check_rc(zoo_get_children2(zh, BASE "/two", 0, &names, &stat), ZOK, "getChildren2");
    check(names.count == 3 && stat.numChildren == 3 && stat.cversion == 3, "getChildren2: names and stat", "%d, %d, %d",
          names.count, stat.numChildren, stat.cversion);
    deallocate_String_vector(&names);
    check_rc(zoo_delete(zh, BASE "/two", -1), ZNOTEMPTY, "delete with children");
    check_rc(zoo_delete(zh, BASE "/two/s-0000000001", 7), ZBADVERSION, "delete with a wrong version");
    check_rc(zoo_delete(zh, BASE "/two/s-0000000001", 0), ZOK, "delete");
    check_rc(zoo_get_children(zh, BASE "/two", 0, &names), ZOK, "getChildren");
    check(names.count == 2, "getChildren after the delete", "%d", names.count);
    deallocate_String_vector(&names);

    check_rc(zoo_create(zh, BASE "/e", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0), ZOK, "create an ephemeral node");
    check_rc(zoo_exists(zh, BASE "/e", 0, &stat), ZOK, "exists of an ephemeral node");
    check(stat.ephemeralOwner == zoo_client_id(zh)->client_id, "its owner is this session", "0x%llx",
          (long long)stat.ephemeralOwner);
    check_rc(zoo_create(zh, BASE "/e/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNOCHILDRENFOREPHEMERALS,
             "an ephemeral node has no children");
    check_rc(zoo_create(zh, BASE "/container", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0), ZOK, "create a container");
    check_rc(zoo_create_ttl(zh, BASE "/ttl", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 3600000, NULL, 0), ZOK,
             "create a TTL node");
    check_rc(zoo_create2_ttl(zh, BASE "/ttl-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 3600000, path,
                             sizeof path, &stat),
             ZOK, "create a sequential TTL node");
    check(stat.ephemeralOwner == 0, "a TTL node shows no owner", "0x%llx", (long long)stat.ephemeralOwner);
    length = sizeof data;
    check_rc(zoo_getconfig(zh, 0, data, &length, &stat), ZOK, "get the configuration");
}

static void asynchronous(zhandle_t *zh) {
    enum { COUNT = 500 };
    static struct answer answers[COUNT];
    char path[64], data[16];

    memset(answers, 0, sizeof answers);
    check_rc(zoo_create(zh, BASE "/many", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK, "create the parent of many");
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof path, BASE "/many/%03d", i);
        snprintf(data, sizeof data, "data %d", i);
        zoo_acreate(zh, path, data, (int)strlen(data), &ZOO_OPEN_ACL_UNSAFE, 0, on_string, &answers[i]);
    }
    int bad = 0;
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof path, BASE "/many/%03d", i);
        bad += wait_for(&answers[i]) != ZOK || strcmp(answers[i].text, path) != 0;
    }
    check(bad == 0, "500 pipelined creates", "%d failed", bad);

    memset(answers, 0, sizeof answers);
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof path, BASE "/many/%03d", i);
        zoo_aget(zh, path, 0, on_data, &answers[i]);
    }
    bad = 0;
    for (int i = 0; i < COUNT; i++) {
        snprintf(data, sizeof data, "data %d", i);
        bad += wait_for(&answers[i]) != ZOK || answers[i].length != (int)strlen(data) || memcmp(answers[i].text, data, strlen(data));
    }
    check(bad == 0, "500 pipelined gets", "%d failed", bad);

    struct answer a[9];
    memset(a, 0, sizeof a);
    zoo_aset(zh, BASE "/many/000", "set", 3, -1, on_stat, &a[0]);
    zoo_aexists(zh, BASE "/many/000", 0, on_stat, &a[1]);
    zoo_aget_children(zh, BASE "/many", 0, on_strings, &a[2]);
    zoo_aget_children2(zh, BASE "/many", 0, on_strings_stat, &a[3]);
    zoo_async(zh, BASE, on_string, &a[4]);
    zoo_aget_acl(zh, BASE "/many", on_acl, &a[5]);
    zoo_adelete(zh, BASE "/many/001", -1, on_void, &a[6]);
    zoo_aget(zh, BASE "/many/001", 0, on_data, &a[7]);
    zoo_acreate2(zh, BASE "/many/c2-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, on_string_stat, &a[8]);
    for (int i = 0; i < 9; i++) wait_for(&a[i]);
    check(a[0].rc == ZOK && a[0].stat.version == 1, "aset", "%s", zerror(a[0].rc));
    check(a[1].rc == ZOK && a[1].stat.version == 1, "aexists sees the set before it", "version %d", a[1].stat.version);
    check(a[2].rc == ZOK && a[2].count == COUNT, "aget_children", "%d", a[2].count);
    check(a[3].rc == ZOK && a[3].count == COUNT && a[3].stat.numChildren == COUNT, "aget_children2", "%d", a[3].count);
    check(a[4].rc == ZOK && strcmp(a[4].text, BASE) == 0, "async answers its path", "%s %s", zerror(a[4].rc), a[4].text);
    check(a[5].rc == ZOK && a[5].count == 1 && strcmp(a[5].text, "world") == 0, "aget_acl", "%s", a[5].text);
    check_rc(a[6].rc, ZOK, "adelete");
    check_rc(a[7].rc, ZNONODE, "aget sees the delete before it");
    check(a[8].rc == ZOK && a[8].stat.ephemeralOwner == zoo_client_id(zh)->client_id &&
              strcmp(a[8].text, BASE "/many/c2-0000000500") == 0,
          "acreate2 of a sequential ephemeral node", "%s %s", zerror(a[8].rc), a[8].text);
}

static void watches(zhandle_t *zh) {
    struct Stat stat;
    struct String_vector names;
    char data[64];
    int length = sizeof data;

    check_rc(zoo_create(zh, BASE "/w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK, "create the watched node");
    check_rc(zoo_wexists(zh, BASE "/w/new", watcher, NULL, &stat), ZNONODE, "watch a node that does not exist");
    check_rc(zoo_wget_children(zh, BASE "/w", watcher, NULL, &names), ZOK, "watch the children");
    deallocate_String_vector(&names);
    zoo_create(zh, BASE "/w/new", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    check(take_event(ZOO_CREATED_EVENT, BASE "/w/new"), "the node is created", "no event");
    check(take_event(ZOO_CHILD_EVENT, BASE "/w"), "the children change", "no event");
    zoo_create(zh, BASE "/w/unseen", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_set(zh, BASE "/w/new", "1", 1, -1);
    check_rc(zoo_wget(zh, BASE "/w/new", watcher, NULL, data, &length, &stat), ZOK, "watch the data");
    check(events_left() == 0, "a watch fires once", "%d events left", events_left());
    zoo_set(zh, BASE "/w/new", "2", 1, -1);
    check(take_event(ZOO_CHANGED_EVENT, BASE "/w/new"), "the data changes", "no event");
    length = sizeof data;
    zoo_wget(zh, BASE "/w/new", watcher, NULL, data, &length, &stat);
    zoo_delete(zh, BASE "/w/new", -1);
    check(take_event(ZOO_DELETED_EVENT, BASE "/w/new"), "the node is deleted", "no event");

    length = sizeof data;
    zoo_wget(zh, BASE "/w/unseen", watcher, NULL, data, &length, &stat);
    check_rc(zoo_remove_watches(zh, BASE "/w/unseen", ZWATCHTYPE_DATA, watcher, NULL, 0), ZOK, "remove a watch");
    zoo_set(zh, BASE "/w/unseen", "quiet", 5, -1);
    zoo_exists(zh, BASE "/w/unseen", 0, &stat);
    check(events_left() == 0, "a removed watch does not fire", "%d events left", events_left());
}

static void transactions(zhandle_t *zh) {
    char created[128], sequential[128];
    struct Stat stat, seen;
    zoo_op_t ops[5];
    zoo_op_result_t results[5];

    memset(results, 0, sizeof results);
    zoo_create_op_init(&ops[0], BASE "/m", "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, created, sizeof created);
    zoo_set_op_init(&ops[1], BASE "/m", "2", 1, 0, &stat);
    zoo_check_op_init(&ops[2], BASE "/m", 1);
    zoo_create_op_init(&ops[3], BASE "/m/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, sequential, sizeof sequential);
    zoo_delete_op_init(&ops[4], BASE "/m/s-0000000000", -1);
    check_rc(zoo_multi(zh, 5, ops, results), ZOK, "multi");
    check(strcmp(created, BASE "/m") == 0 && strcmp(sequential, BASE "/m/s-0000000000") == 0, "multi: created paths", "%s %s",
          created, sequential);
    check(stat.version == 1, "multi: the stat of the set", "version %d", stat.version);
    zoo_exists(zh, BASE "/m", 0, &seen);
    check(seen.czxid == seen.mzxid && seen.czxid == seen.pzxid && seen.version == 1 && seen.numChildren == 0,
          "multi: one transaction", "0x%llx 0x%llx", (long long)seen.czxid, (long long)seen.mzxid);

    memset(results, 0, sizeof results);
    zoo_set_op_init(&ops[0], BASE "/m", "3", 1, -1, NULL);
    zoo_check_op_init(&ops[1], BASE "/m", 99);
    zoo_delete_op_init(&ops[2], BASE "/m", -1);
    check_rc(zoo_multi(zh, 3, ops, results), ZBADVERSION, "a multi that fails");
    check(results[0].err == 0 && results[1].err == ZBADVERSION && results[2].err == ZRUNTIMEINCONSISTENCY,
          "a multi that fails: 0, the error, then -2", "%d %d %d", results[0].err, results[1].err, results[2].err);
    zoo_exists(zh, BASE "/m", 0, &stat);
    check(stat.version == 1, "a multi that fails changes nothing", "version %d", stat.version);

    struct answer answer = {0};
    zoo_set_op_init(&ops[0], BASE "/m", "4", 1, -1, NULL);
    check_rc(zoo_amulti(zh, 1, ops, results, on_void, &answer), ZOK, "amulti");
    check_rc(wait_for(&answer), ZOK, "amulti: its completion");
}

static void acls(zhandle_t *zh, const char *server) {
    struct answer answer = {0};
    struct ACL_vector acl;
    struct Stat stat;
    char data[64];
    int length = sizeof data;

    check_rc(zoo_create(zh, BASE "/auth", "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZINVALIDACL,
             "the creator's ACL without an identity");
    check_rc(zoo_add_auth(zh, "digest", "user:password", 13, on_void, &answer), ZOK, "add_auth");
    check_rc(wait_for(&answer), ZOK, "add_auth: its completion");
    check_rc(zoo_create(zh, BASE "/auth", "secret", 6, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZOK, "the creator's ACL");
    check_rc(zoo_get_acl(zh, BASE "/auth", &acl, &stat), ZOK, "get_acl");
    check(acl.count == 1 && strcmp(acl.data[0].id.scheme, "digest") == 0 &&
              strcmp(acl.data[0].id.id, "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY=") == 0,
          "the creator's ACL names the digest", "%d %s", acl.count, acl.count ? acl.data[0].id.id : "");
    deallocate_ACL_vector(&acl);

    zhandle_t *stranger = zookeeper_init(server, watcher, 30000, NULL, NULL, 0);
    check_rc(zoo_get(stranger, BASE "/auth", 0, data, &length, &stat), ZNOAUTH, "a stranger may not read");
    check_rc(zoo_set_acl(stranger, BASE "/auth", -1, &ZOO_OPEN_ACL_UNSAFE), ZNOAUTH, "a stranger may not set the ACL");
    check_rc(zoo_set_acl(zh, BASE "/auth", 9, &ZOO_READ_ACL_UNSAFE), ZBADVERSION, "set_acl with a wrong version");
    check_rc(zoo_set_acl(zh, BASE "/auth", 0, &ZOO_READ_ACL_UNSAFE), ZOK, "set_acl");
    length = sizeof data;
    check_rc(zoo_get(stranger, BASE "/auth", 0, data, &length, &stat), ZOK, "now a stranger may read");
    check(length == 6 && stat.aversion == 1, "aversion counts", "%d", stat.aversion);
    check_rc(zoo_set(stranger, BASE "/auth", "x", 1, -1), ZNOAUTH, "but not write");
    zookeeper_close(stranger);
}

static void restart(zhandle_t *zh) {
    char line[64], data[64];
    struct Stat stat;
    struct String_vector names;
    int length = sizeof data;
    clientid_t before = *zoo_client_id(zh);

    zoo_create(zh, BASE "/r", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    check_rc(zoo_wget(zh, BASE "/r", watcher, NULL, data, &length, &stat), ZOK, "watch data over a restart");
    check_rc(zoo_wget_children(zh, BASE "/r", watcher, NULL, &names), ZOK, "watch children over a restart");
    check_rc(zoo_wexists(zh, BASE "/later", watcher, NULL, &stat), ZNONODE, "watch a missing node over a restart");

    printf("RESTART\n");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) exit(2);
    /* A request made while the connection is down fails with ConnectionLoss; the session itself goes on. */
    int rc = ZOPERATIONTIMEOUT, tries = 0;
    do {
        if (!wait_for_state(ZOO_CONNECTED_STATE)) break;
        rc = zoo_exists(zh, BASE "/e", 0, &stat);
    } while ((rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT) && ++tries < 50);
    check_rc(rc, ZOK, "the ephemeral node outlives the restart");
    check(before.client_id == zoo_client_id(zh)->client_id && stat.ephemeralOwner == before.client_id,
          "it is still the same session", "0x%llx", (long long)zoo_client_id(zh)->client_id);
    zoo_set(zh, BASE "/r", "x", 1, -1);
    check(take_event(ZOO_CHANGED_EVENT, BASE "/r"), "the data watch was set again", "no event");
    zoo_create(zh, BASE "/r/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    check(take_event(ZOO_CHILD_EVENT, BASE "/r"), "the child watch was set again", "no event");
    zoo_create(zh, BASE "/later", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    check(take_event(ZOO_CREATED_EVENT, BASE "/later"), "the exists watch was set again", "no event");
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *zh = connect_to(argv[1], NULL);
    check(zoo_recv_timeout(zh) == 30000, "the session timeout is granted", "%d", zoo_recv_timeout(zh));
    synchronous(zh);
    asynchronous(zh);
    watches(zh);
    transactions(zh);
    acls(zh, argv[1]);
    restart(zh);

    check_rc(zookeeper_close(zh), ZOK, "close the session");
    zh = connect_to(argv[1], NULL);
    check_rc(zoo_exists(zh, BASE "/e", 0, NULL), ZNONODE, "the ephemeral node is gone with its session");
    check_rc(zookeeper_close(zh), ZOK, "close");
    return failures != 0;
}
