//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-ZXXPL5WC.js";import"./chunk-2VOR5QIW.js";export{a as Activity,b as Invitations,c as NewProject};
