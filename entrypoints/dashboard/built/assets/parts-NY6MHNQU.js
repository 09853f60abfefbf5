//# allFunctionsCalledOnLoad
import{Q as a,R as b,S as c}from"./chunk-PO5BWYWS.js";import"./chunk-5SRFH7ZR.js";export{a as Activity,b as Invitations,c as NewProject};
