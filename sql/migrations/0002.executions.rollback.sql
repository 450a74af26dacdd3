DROP TABLE nexus.idempotency_keys;
DROP VIEW public.trading_workflow_dashboard;
DROP TABLE public.workflow_executions;
