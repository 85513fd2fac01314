import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.Stat;

/**
 * Curator's recipes against one server: {@code java Recipes HOST:PORT}. Prints a line per check; asks for a restart of the server with
 * the line "RESTART", while a persistent node, a latch and a cache are in use.
 */
public final class Recipes {
    private static final int CLIENTS = 4;
    private static final long PATIENT_SECONDS = 30;
    private static boolean failed;

    interface Body {
        void run() throws Exception;
    }

    private static void check(String name, boolean good, Object detail) {
        if (!good) {
            failed = true;
        }
        System.out.println(good ? "ok      " + name : "FAILED  " + name + ": " + detail);
        System.out.flush();
    }

    /** Runs one recipe; an exception is a failure of that recipe, not the end of the program. */
    private static void recipe(String name, Body body) {
        try {
            body.run();
        } catch (Exception e) {
            check(name, false, e);
        }
    }

    private static boolean eventually(BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENT_SECONDS);
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                return false;
            }
            Thread.sleep(10);
        }
        return true;
    }

    private static CuratorFramework connect(String server) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder()
                .connectString(server)
                .sessionTimeoutMs(20000)
                .connectionTimeoutMs(10000)
                .retryPolicy(new RetryNTimes(100, 100))
                .build();
        client.start();
        if (!client.blockUntilConnected((int) PATIENT_SECONDS, TimeUnit.SECONDS)) {
            throw new IllegalStateException("not connected to " + server);
        }
        return client;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** One task per client, at the same time; the results in order. */
    private static <T> List<T> together(List<CuratorFramework> clients, java.util.function.Function<CuratorFramework, Callable<T>> task)
            throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(clients.size());
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (CuratorFramework client : clients) {
                futures.add(pool.submit(task.apply(client)));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> future : futures) {
                results.add(future.get(2 * PATIENT_SECONDS, TimeUnit.SECONDS));
            }
            return results;
        } finally {
            pool.shutdownNow();
        }
    }

    public static void main(String[] args) throws Exception {
        String server = args[0];
        List<CuratorFramework> clients = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
            clients.add(connect(server));
        }
        CuratorFramework client = clients.get(0);
        recipe("nodes", () -> nodes(client));
        recipe("transactions", () -> transactions(client));
        recipe("mutex", () -> mutex(clients));
        recipe("read-write lock", () -> readWriteLock(client));
        recipe("semaphore", () -> semaphore(clients));
        recipe("leader latch", () -> leaderLatch(clients));
        recipe("leader selector", () -> leaderSelector(clients));
        recipe("counters", () -> counters(clients));
        recipe("double barrier", () -> doubleBarrier(clients));
        recipe("group member", () -> groupMembers(clients));
        recipe("persistent watcher", () -> persistentWatcher(clients));
        recipe("restart", () -> restart(clients));
        for (CuratorFramework each : clients) {
            each.close();
        }
        System.exit(failed ? 1 : 0);
    }

    private static void nodes(CuratorFramework client) throws Exception {
        String path = client.create().creatingParentsIfNeeded().forPath("/curator/nodes/a", bytes("1"));
        check("create with parents", path.equals("/curator/nodes/a"), path);
        Stat stat = new Stat();
        byte[] data = client.getData().storingStatIn(stat).forPath(path);
        check("get", new String(data, StandardCharsets.UTF_8).equals("1") && stat.getVersion() == 0, stat);
        check("set", client.setData().withVersion(0).forPath(path, bytes("2")).getVersion() == 1, "");
        try {
            client.setData().withVersion(0).forPath(path, bytes("3"));
            check("set with a stale version", false, "no exception");
        } catch (KeeperException.BadVersionException e) {
            check("set with a stale version", true, "");
        }
        client.create().orSetData().forPath(path, bytes("4"));
        check("create or set", new String(client.getData().forPath(path), StandardCharsets.UTF_8).equals("4"), "");
        client.create().creatingParentContainersIfNeeded().forPath("/curator/containers/x/y", bytes(""));
        check("parents as containers", client.checkExists().forPath("/curator/containers/x") != null, "");
        client.create().withMode(CreateMode.CONTAINER).forPath("/curator/container");
        client.create().withTtl(3600_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/curator/ttl", bytes("t"));
        stat = client.checkExists().forPath("/curator/ttl");
        check("TTL node", stat != null && stat.getEphemeralOwner() == 0, stat);
        path = client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/curator/nodes/p-");
        check("protected ephemeral sequential", path.matches("/curator/nodes/_c_[-0-9a-f]+-p-\\d{10}"), path);
        client.create().compressed().forPath("/curator/zipped", bytes("z".repeat(10000)));
        check("compressed", client.getData().decompressed().forPath("/curator/zipped").length == 10000, "");
        client.setACL().withACL(ZooDefs.Ids.READ_ACL_UNSAFE).forPath("/curator/zipped");
        check("ACL", client.getACL().forPath("/curator/zipped").equals(ZooDefs.Ids.READ_ACL_UNSAFE), "");
        client.delete().guaranteed().deletingChildrenIfNeeded().forPath("/curator/nodes");
        check("delete with children", client.checkExists().forPath("/curator/nodes") == null, "");
        CountDownLatch background = new CountDownLatch(100);
        for (int i = 0; i < 100; i++) {
            client.create().inBackground((c, event) -> {
                if (event.getResultCode() == 0) {
                    background.countDown();
                }
            }).forPath("/curator/background-" + i);
        }
        check("100 creates in the background", background.await(PATIENT_SECONDS, TimeUnit.SECONDS), background.getCount());
    }

    private static void transactions(CuratorFramework client) throws Exception {
        List<CuratorTransactionResult> results = client.transaction().forOperations(
                client.transactionOp().create().forPath("/curator/tx", bytes("1")),
                client.transactionOp().setData().withVersion(0).forPath("/curator/tx", bytes("2")),
                client.transactionOp().check().withVersion(1).forPath("/curator/tx"),
                client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/curator/tx/s-"),
                client.transactionOp().delete().forPath("/curator/tx/s-0000000000"));
        check("transaction", results.size() == 5 && results.get(1).getResultStat().getVersion() == 1
                && results.get(3).getResultPath().equals("/curator/tx/s-0000000000"), results);
        try {
            client.transaction().forOperations(
                    client.transactionOp().setData().forPath("/curator/tx", bytes("3")),
                    client.transactionOp().check().withVersion(99).forPath("/curator/tx"));
            check("transaction that fails", false, "no exception");
        } catch (KeeperException.BadVersionException e) {
            check("transaction that fails", e.getResults().size() == 2, e.getResults());
        }
        String data = new String(client.getData().forPath("/curator/tx"), StandardCharsets.UTF_8);
        check("transaction that fails changes nothing", data.equals("2"), data);
    }

    private static void mutex(List<CuratorFramework> clients) throws Exception {
        int rounds = 10;
        AtomicInteger inside = new AtomicInteger();
        int[] count = new int[1];
        List<Integer> most = together(clients, client -> () -> {
            InterProcessMutex mutex = new InterProcessMutex(client, "/curator/mutex");
            int seen = 0;
            for (int i = 0; i < rounds; i++) {
                mutex.acquire();
                try {
                    seen = Math.max(seen, inside.incrementAndGet());
                    count[0]++;
                    inside.decrementAndGet();
                } finally {
                    mutex.release();
                }
            }
            return seen;
        });
        check("mutex: one holder at a time", Collections.max(most) == 1, most);
        check("mutex: every turn was had", count[0] == rounds * clients.size(), count[0]);
    }

    private static void readWriteLock(CuratorFramework client) throws Exception {
        InterProcessReadWriteLock lock = new InterProcessReadWriteLock(client, "/curator/rw");
        lock.writeLock().acquire();
        check("read-write lock: a writer downgrades", lock.readLock().acquire(PATIENT_SECONDS, TimeUnit.SECONDS), "");
        lock.writeLock().release();
        lock.readLock().release();
    }

    private static void semaphore(List<CuratorFramework> clients) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        List<Integer> most = together(clients, client -> () -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, "/curator/semaphore", 2);
            int seen = 0;
            for (int i = 0; i < 5; i++) {
                Lease lease = semaphore.acquire();
                seen = Math.max(seen, inside.incrementAndGet());
                inside.decrementAndGet();
                semaphore.returnLease(lease);
            }
            return seen;
        });
        check("semaphore: at most two leases", Collections.max(most) <= 2, most);
    }

    private static void leaderLatch(List<CuratorFramework> clients) throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (CuratorFramework client : clients) {
            LeaderLatch latch = new LeaderLatch(client, "/curator/latch", "id-" + latches.size());
            latch.start();
            latches.add(latch);
        }
        for (int round = clients.size(); round > 0; round--) {
            check("leader latch: one of " + round + " leads",
                    eventually(() -> latches.stream().filter(LeaderLatch::hasLeadership).count() == 1), latches.size());
            LeaderLatch leader = latches.stream().filter(LeaderLatch::hasLeadership).findFirst().orElseThrow();
            check("leader latch: the others know it", latches.get(0).getLeader().getId().equals(leader.getId()), leader.getId());
            leader.close();
            latches.remove(leader);
        }
    }

    private static void leaderSelector(List<CuratorFramework> clients) throws Exception {
        AtomicInteger leading = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        CountDownLatch turns = new CountDownLatch(2 * clients.size());
        List<LeaderSelector> selectors = new ArrayList<>();
        for (CuratorFramework client : clients) {
            LeaderSelector selector = new LeaderSelector(client, "/curator/selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework unused) {
                    most.accumulateAndGet(leading.incrementAndGet(), Math::max);
                    turns.countDown();
                    leading.decrementAndGet();
                }
            });
            selector.autoRequeue();
            selector.start();
            selectors.add(selector);
        }
        check("leader selector: leadership goes round", turns.await(PATIENT_SECONDS, TimeUnit.SECONDS), turns.getCount());
        check("leader selector: one leader at a time", most.get() == 1, most);
        selectors.forEach(LeaderSelector::close);
    }

    private static void counters(List<CuratorFramework> clients) throws Exception {
        together(clients, client -> () -> {
            DistributedAtomicLong counter = new DistributedAtomicLong(client, "/curator/long", new RetryNTimes(1000, 1));
            for (int i = 0; i < 10; i++) {
                if (!counter.increment().succeeded()) {
                    throw new IllegalStateException("an increment gave up");
                }
            }
            return null;
        });
        long value = new DistributedAtomicLong(clients.get(0), "/curator/long", new RetryNTimes(10, 1)).get().postValue();
        check("atomic long", value == 10L * clients.size(), value);
        try (SharedCount one = new SharedCount(clients.get(0), "/curator/shared", 0);
                SharedCount two = new SharedCount(clients.get(1), "/curator/shared", 0)) {
            one.start();
            two.start();
            one.setCount(42);
            check("shared count: the other one is told", eventually(() -> two.getCount() == 42), two.getCount());
        }
    }

    private static void doubleBarrier(List<CuratorFramework> clients) throws Exception {
        AtomicInteger entered = new AtomicInteger();
        List<Integer> seen = together(clients, client -> () -> {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, "/curator/barrier", clients.size());
            entered.incrementAndGet();
            if (!barrier.enter(PATIENT_SECONDS, TimeUnit.SECONDS)) {
                return -1;
            }
            int all = entered.get();
            return barrier.leave(PATIENT_SECONDS, TimeUnit.SECONDS) ? all : -2;
        });
        check("double barrier: all wait for all", seen.stream().allMatch(n -> n == clients.size()), seen);
    }

    private static void groupMembers(List<CuratorFramework> clients) throws Exception {
        List<GroupMember> members = new ArrayList<>();
        for (CuratorFramework client : clients) {
            GroupMember member = new GroupMember(client, "/curator/group", "member-" + members.size());
            member.start();
            members.add(member);
        }
        check("group: everybody sees everybody",
                eventually(() -> members.stream().allMatch(m -> m.getCurrentMembers().size() == clients.size())), "");
        members.remove(0).close();
        check("group: who leaves is gone",
                eventually(() -> members.stream().allMatch(m -> m.getCurrentMembers().size() == clients.size() - 1)), "");
        members.forEach(GroupMember::close);
    }

    private static void persistentWatcher(List<CuratorFramework> clients) throws Exception {
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        clients.get(1).create().forPath("/curator/watched");
        try (PersistentWatcher watcher = new PersistentWatcher(clients.get(0), "/curator/watched", true)) {
            watcher.getListenable().addListener(event -> seen.add(event.getType() + " " + event.getPath()));
            watcher.start();
            /* Starting is asynchronous: write until the first event shows that the watch is set. */
            check("recursive watcher: set", eventually(() -> {
                try {
                    clients.get(1).setData().forPath("/curator/watched", bytes("x"));
                } catch (Exception e) {
                    return false;
                }
                return seen.contains("NodeDataChanged /curator/watched");
            }), seen);
            clients.get(1).create().forPath("/curator/watched/a");
            clients.get(1).create().forPath("/curator/watched/a/b");
            clients.get(1).delete().forPath("/curator/watched/a/b");
            check("recursive watcher: the whole subtree", eventually(() -> seen.contains("NodeCreated /curator/watched/a")
                    && seen.contains("NodeCreated /curator/watched/a/b") && seen.contains("NodeDeleted /curator/watched/a/b")), seen);
            check("recursive watcher: no child events", seen.stream().noneMatch(e -> e.startsWith("NodeChildren")), seen);
        }
        BlockingQueue<String> plain = new LinkedBlockingQueue<>();
        clients.get(0).watchers().add().withMode(AddWatchMode.PERSISTENT)
                .usingWatcher((org.apache.zookeeper.Watcher) event -> plain.add(event.getType().toString()))
                .forPath("/curator/watched");
        for (int i = 0; i < 3; i++) {
            clients.get(1).setData().forPath("/curator/watched", bytes("" + i));
        }
        check("persistent watch: every change", eventually(() -> plain.size() == 3), plain);
    }

    private static void restart(List<CuratorFramework> clients) throws Exception {
        CuratorFramework keeper = clients.get(0);
        CuratorFramework other = clients.get(1);
        PersistentNode node = new PersistentNode(keeper, CreateMode.EPHEMERAL, false, "/curator/persistent", bytes("mine"));
        node.start();
        check("persistent node: made", node.waitForInitialCreate(PATIENT_SECONDS, TimeUnit.SECONDS), "");
        other.delete().forPath("/curator/persistent");
        check("persistent node: made again when deleted",
                eventually(() -> exists(other, "/curator/persistent")), "");

        keeper.create().forPath("/curator/cached", bytes("0"));
        AtomicInteger changes = new AtomicInteger();
        CuratorCache cache = CuratorCache.build(keeper, "/curator/cached");
        CountDownLatch initialised = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forInitialized(initialised::countDown)
                .forChanges((before, after) -> changes.incrementAndGet())
                .build());
        cache.start();
        check("cache: initialised", initialised.await(PATIENT_SECONDS, TimeUnit.SECONDS), "");
        other.create().forPath("/curator/cached/a", bytes("a"));
        other.create().forPath("/curator/cached/a/b", bytes("b"));
        check("cache: holds the subtree", eventually(() -> cache.size() == 3), cache.size());
        other.setData().forPath("/curator/cached/a", bytes("A"));
        check("cache: sees a change", eventually(() -> cached(cache, "/curator/cached/a").equals("A")), "");
        other.delete().forPath("/curator/cached/a/b");
        check("cache: sees a delete", eventually(() -> cache.size() == 2), cache.size());

        LeaderLatch latch = new LeaderLatch(keeper, "/curator/latch-restart");
        latch.start();
        latch.await(PATIENT_SECONDS, TimeUnit.SECONDS);
        long session = keeper.getZookeeperClient().getZooKeeper().getSessionId();
        int before = changes.get();

        System.out.println("RESTART");
        System.out.flush();
        new BufferedReader(new InputStreamReader(System.in)).readLine();

        other.setData().forPath("/curator/cached/a", bytes("after"));
        check("restart: the cache goes on", eventually(() -> cached(cache, "/curator/cached/a").equals("after")), "");
        check("restart: the listener was told", eventually(() -> changes.get() > before), changes);
        check("restart: the session goes on",
                keeper.getZookeeperClient().getZooKeeper().getSessionId() == session, "another session");
        check("restart: the persistent node is there", eventually(() -> exists(other, "/curator/persistent")), "");
        check("restart: the latch leads again", eventually(latch::hasLeadership), "");
        latch.close();
        cache.close();
        node.close();
    }

    private static boolean exists(CuratorFramework client, String path) {
        try {
            return client.checkExists().forPath(path) != null;
        } catch (Exception e) {
            return false;
        }
    }

    private static String cached(CuratorCache cache, String path) {
        return cache.get(path).map(data -> new String(data.getData(), StandardCharsets.UTF_8)).orElse("");
    }
}
