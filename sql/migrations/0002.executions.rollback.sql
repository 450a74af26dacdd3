DROP TABLE nexus.events;
DROP VIEW public.trading_workflow_dashboard;
DROP TABLE public.workflow_metrics;
DROP TABLE public.workflow_executions;
