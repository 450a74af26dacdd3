def test_a(conninfo, connection, nexus_env, settings):
    print(conninfo, nexus_env["NEXUS_HOME"])
    assert connection.execute("select 1 from nexus.queues").fetchone() == (1,)


def test_b(conninfo, connection):
    pass
