-- Claim, evaluate and settle one batch in one call and one transaction: no Dagster, no worker.
SELECT process_trading_workflow(batch_size => 500);

-- The same every five seconds on a server with pg_cron:
-- SELECT cron.schedule('process-trading-workflow', '5 seconds', 'SELECT process_trading_workflow(500)');
